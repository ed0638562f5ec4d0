// SPDX-License-Identifier: GPL-2.0-only
/* Namespaces and devices. */
#include <linux/etherdevice.h>
#include <linux/netdevice.h>
#include <net/net_namespace.h>
#include <net/netdev_lock.h>
#include <net/netns/generic.h>

#include "helpers.h"

void vnet_dstats_rx_add(struct net_device *dev, unsigned int len)
{
	dev_dstats_rx_add(dev, len);
}

void vnet_dstats_rx_dropped(struct net_device *dev)
{
	dev_dstats_rx_dropped(dev);
}

void vnet_dstats_tx_dropped(struct net_device *dev)
{
	dev_dstats_tx_dropped(dev);
}

void *vnet_net_generic(const struct net *net, unsigned int id)
{
	return net_generic(net, id);
}

int vnet_peernet2id_alloc(struct net *net, struct net *peer)
{
	return peernet2id_alloc(net, peer, GFP_KERNEL);
}

struct net *vnet_dev_net(const struct net_device *dev)
{
	return dev_net(dev);
}

/* What the device of a tunnel can do, as the kernel's own tunnels have it. */
void vnet_netdev_init(struct net_device *dev)
{
	netdev_features_t features = NETIF_F_SG | NETIF_F_HW_CSUM | NETIF_F_FRAGLIST | NETIF_F_RXCSUM |
				     NETIF_F_GSO_SOFTWARE;

	dev->features |= features;
	dev->vlan_features = dev->features;
	dev->hw_features |= features;
	dev->hw_enc_features = dev->hw_features;
	netif_keep_dst(dev);
	netif_set_tso_max_size(dev, GSO_MAX_SIZE);
	dev->priv_flags |= IFF_NO_QUEUE | IFF_LIVE_ADDR_CHANGE;
	/* Headers are put in front in place: a packet that is sent again and again must not be shared. */
	dev->priv_flags &= ~IFF_TX_SKB_SHARING;
	dev->lltx = true;
	dev->pcpu_stat_type = NETDEV_PCPU_STAT_DSTATS;
	dev->needs_free_netdev = true;
	eth_hw_addr_random(dev);
}

void vnet_netdev_lockdep_set_classes(struct net_device *dev)
{
	netdev_lockdep_set_classes(dev);
}

/* What was lost below the device after it had been encapsulated. */
u64 vnet_dev_tx_lost(const struct net_device *dev)
{
	return (unsigned long)atomic_long_read(&dev->stats.__tx_dropped) +
	       (unsigned long)atomic_long_read(&dev->stats.__tx_errors);
}
