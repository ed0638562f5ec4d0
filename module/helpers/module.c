// SPDX-License-Identifier: GPL-2.0-only
/* The module itself, and its parameters, as the kernel's Rust has none that are text. */
#include <linux/module.h>
#include <net/genetlink.h>
#include <net/rtnetlink.h>

#include "helpers.h"

MODULE_ALIAS_RTNL_LINK("vnet");
MODULE_ALIAS_GENL_FAMILY("vnet");

static char *varp_mcaddr = "224.10.0.1";
module_param(varp_mcaddr, charp, 0444);
MODULE_PARM_DESC(varp_mcaddr, "multicast group of new namespaces, or none");

static char *varp_device = "";
module_param(varp_device, charp, 0444);
MODULE_PARM_DESC(varp_device, "underlay device of the initial namespace (by the routing table unless given)");

static ushort varp_port = 1798;
module_param(varp_port, ushort, 0444);
MODULE_PARM_DESC(varp_port, "UDP port of new namespaces");

static unsigned char varp_ttl = 64;
module_param(varp_ttl, byte, 0444);
MODULE_PARM_DESC(varp_ttl, "TTL of what new namespaces send");

struct module *vnet_this_module(void)
{
	return THIS_MODULE;
}

const char *vnet_param_group(void)
{
	return varp_mcaddr;
}

const char *vnet_param_device(void)
{
	return varp_device;
}

unsigned int vnet_param_port(void)
{
	return varp_port;
}

unsigned int vnet_param_ttl(void)
{
	return varp_ttl;
}
