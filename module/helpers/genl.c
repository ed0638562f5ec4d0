// SPDX-License-Identifier: GPL-2.0-only
/* Generic netlink. */
#include <net/genetlink.h>

#include "helpers.h"

struct sk_buff *vnet_genlmsg_new(void)
{
	return genlmsg_new(GENLMSG_DEFAULT_SIZE, GFP_KERNEL);
}

void vnet_genlmsg_end(struct sk_buff *skb, void *header)
{
	genlmsg_end(skb, header);
}

void vnet_genlmsg_cancel(struct sk_buff *skb, void *header)
{
	genlmsg_cancel(skb, header);
}

void vnet_nlmsg_free(struct sk_buff *skb)
{
	nlmsg_free(skb);
}

int vnet_genlmsg_unicast(struct net *net, struct sk_buff *skb, u32 portid)
{
	return genlmsg_unicast(net, skb, portid);
}

int vnet_genlmsg_multicast(struct genl_family *family, struct net *net, struct sk_buff *skb, u32 portid, unsigned int group)
{
	return genlmsg_multicast_netns(family, net, skb, portid, group, GFP_KERNEL);
}

void vnet_genl_lost(const struct genl_family *family, struct net *net, unsigned int group)
{
	genl_set_err(family, net, 0, group, -ENOBUFS);
}

struct nlattr *vnet_nest_start(struct sk_buff *skb, int type)
{
	return nla_nest_start(skb, type);
}

void vnet_nest_end(struct sk_buff *skb, struct nlattr *start)
{
	nla_nest_end(skb, start);
}

u32 vnet_netlink_cb_portid(struct sk_buff *skb)
{
	return NETLINK_CB(skb).portid;
}

void vnet_dump_check_consistent(struct netlink_callback *cb, void *header)
{
	genl_dump_check_consistent(cb, header);
}
