// SPDX-License-Identifier: GPL-2.0-only
/* Bridges, and devices on top of others. */
#include <linux/etherdevice.h>
#include <linux/if_bridge.h>
#include <linux/netdevice.h>
#include <net/switchdev.h>

#include "helpers.h"

int vnet_switchdev_register(struct notifier_block *nb)
{
	return register_switchdev_notifier(nb);
}

void vnet_switchdev_unregister(struct notifier_block *nb)
{
	unregister_switchdev_notifier(nb);
}

/* False if the event is not that a bridge has learned a MAC address behind one of its ports, or forgotten it. Under RCU. */
bool vnet_switchdev_info(unsigned long event, void *ptr, struct vnet_bridge_mac *mac)
{
	struct switchdev_notifier_fdb_info *info = ptr;

	if (event != SWITCHDEV_FDB_ADD_TO_DEVICE && event != SWITCHDEV_FDB_DEL_TO_DEVICE)
		return false;
	mac->port = info->info.dev;
	mac->bridge = netdev_master_upper_dev_get_rcu(info->info.dev);
	if (!mac->bridge || info->is_local)
		return false;
	mac->gone = event == SWITCHDEV_FDB_DEL_TO_DEVICE;
	mac->vid = info->vid;
	ether_addr_copy(mac->addr, info->addr);
	return true;
}

/* Whether a device is a port of a bridge itself, and in a VLAN of it; 0 is the bridge that knows no VLANs. Under RCU. */
bool vnet_is_port_of(struct net_device *dev, const struct net_device *bridge, u16 vid)
{
	struct bridge_vlan_info info;

	if (netdev_master_upper_dev_get_rcu(dev) != bridge)
		return false;
	return !vid || !br_vlan_get_info_rcu(dev, vid, &info);
}

struct vnet_lower_walk {
	int (*fn)(struct net_device *dev, void *data);
	void *data;
};

static int vnet_lower(struct net_device *dev, struct netdev_nested_priv *priv)
{
	struct vnet_lower_walk *walk = priv->data;

	return walk->fn(dev, walk->data);
}

/* Under RCU. */
int vnet_for_each_lower(struct net_device *dev, int (*fn)(struct net_device *dev, void *data), void *data)
{
	struct vnet_lower_walk walk = { .fn = fn, .data = data };
	struct netdev_nested_priv priv = { .data = &walk };

	return netdev_walk_all_lower_dev_rcu(dev, vnet_lower, &priv);
}
