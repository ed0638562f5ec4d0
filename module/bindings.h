/* SPDX-License-Identifier: GPL-2.0-only */
/* What the module's own bindgen run reads; which names are taken from it stands in bindgen_parameters. */
#ifndef VNET_BINDINGS_H
#define VNET_BINDINGS_H

#include <crypto/chacha20poly1305.h>
#include <linux/etherdevice.h>
#include <linux/igmp.h>
#include <linux/netdevice.h>
#include <linux/rhashtable.h>
#include <linux/rtnetlink.h>
#include <linux/workqueue.h>
#include <net/dst_cache.h>
#include <net/genetlink.h>
#include <net/gro.h>
#include <net/gro_cells.h>
#include <net/ip_tunnels.h>
#include <net/net_namespace.h>
#include <net/route.h>
#include <net/rtnetlink.h>
#include <net/udp_tunnel.h>

#include "helpers/helpers.h"

#endif
