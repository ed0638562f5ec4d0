// SPDX-License-Identifier: GPL-2.0-only
/* Routes. */
#include <net/dst_cache.h>
#include <net/ip_tunnels.h>
#include <net/route.h>
#include <net/udp_tunnel.h>

#include "helpers.h"

void vnet_dst_hold(struct dst_entry *dst)
{
	dst_hold(dst);
}

void vnet_dst_release(struct dst_entry *dst)
{
	dst_release(dst);
}

int vnet_dst_cache_init(struct dst_cache *cache)
{
	return dst_cache_init(cache, GFP_ATOMIC | __GFP_NOWARN);
}

void vnet_dst_cache_reset(struct dst_cache *cache)
{
	dst_cache_reset(cache);
}

struct net_device *vnet_dst_dev(const struct dst_entry *dst)
{
	return dst_dev(dst);
}

u32 vnet_dst_mtu(const struct dst_entry *dst)
{
	return dst_mtu(dst);
}

/*
 * The route for a packet that a device has taken. A mark can lead elsewhere by policy: such a packet neither uses nor fills
 * what others remember.
 */
struct dst_entry *vnet_tunnel_route4(struct sk_buff *skb, struct net_device *dev, struct net *net, int oif, __be32 *saddr,
				     __be32 daddr, __be16 port, struct dst_cache *cache)
{
	struct ip_tunnel_key key = {
		.u.ipv4.dst = daddr,
	};
	struct rtable *rt;

	if (skb->mark) {
		cache = NULL;
	} else {
		rt = dst_cache_get_ip4(cache, saddr);
		if (likely(rt))
			return &rt->dst;
	}
	rt = udp_tunnel_dst_lookup(skb, dev, net, oif, saddr, &key, port, port, 0, cache);
	return IS_ERR(rt) ? ERR_CAST(rt) : &rt->dst;
}

/* A route for who sends nothing on behalf of a device, with the source address that goes with it; or an error. */
struct dst_entry *vnet_route4(struct net *net, __be32 daddr, int oif, __be32 *saddr)
{
	struct flowi4 fl4 = {
		.daddr = daddr,
		.flowi4_oif = oif,
		.flowi4_proto = IPPROTO_UDP,
	};
	struct rtable *rt = ip_route_output_key(net, &fl4);

	if (IS_ERR(rt))
		return ERR_CAST(rt);
	*saddr = fl4.saddr;
	return &rt->dst;
}
