// SPDX-License-Identifier: GPL-2.0-only
/* Routes and sockets of IPv6, which a kernel may be without. */
#include <linux/ipv6.h>
#include <net/addrconf.h>
#include <net/dst_cache.h>
#include <net/ip6_route.h>
#include <net/ip_tunnels.h>
#include <net/udp_tunnel.h>

#include "helpers.h"

#if IS_ENABLED(CONFIG_IPV6)

struct dst_entry *vnet_route6(struct net *net, struct sock *sk, const struct in6_addr *daddr, int oif, struct in6_addr *saddr)
{
	struct flowi6 fl6 = {
		.daddr = *daddr,
		.flowi6_oif = oif,
		.flowi6_proto = IPPROTO_UDP,
	};
	struct dst_entry *dst;

	/* Without IPv6 there are no tables to look into. */
	if (!ipv6_mod_enabled())
		return ERR_PTR(-EAFNOSUPPORT);
	dst = ip6_dst_lookup_flow(net, sk, &fl6, NULL);
	if (!IS_ERR(dst))
		*saddr = fl6.saddr;
	return dst;
}

struct dst_entry *vnet_tunnel_route6(struct sk_buff *skb, struct net_device *dev, struct net *net, struct sock *sk, int oif,
				     struct in6_addr *saddr, const struct in6_addr *daddr, __be16 port, struct dst_cache *cache)
{
	struct ip_tunnel_key key = {
		.u.ipv6.dst = *daddr,
	};

	return udp_tunnel6_dst_lookup(skb, dev, net, sk, oif, saddr, &key, port, port, 0, skb->mark ? NULL : cache);
}

bool vnet_is_local6(struct net *net, const struct in6_addr *addr)
{
	return ipv6_mod_enabled() && ipv6_chk_addr(net, addr, NULL, 0);
}

int vnet_udp_sock_create6(struct net *net, struct udp_port_cfg *cfg, struct socket **sock)
{
	return udp_sock_create6(net, cfg, sock);
}

int vnet_join_group6(struct sock *sk, const struct in6_addr *group, int ifindex)
{
	int err;

	lock_sock(sk);
	err = ipv6_sock_mc_join(sk, ifindex, group);
	release_sock(sk);
	return err;
}

void vnet_leave_group6(struct sock *sk, const struct in6_addr *group, int ifindex)
{
	lock_sock(sk);
	ipv6_sock_mc_drop(sk, ifindex, group);
	release_sock(sk);
}

/* What iptunnel_xmit() does for IPv4 before it sends, and whether the packet may be sent in fragments. */
void vnet_tunnel_xmit6(struct dst_entry *dst, struct sock *sk, struct sk_buff *skb, const struct in6_addr *saddr,
		       const struct in6_addr *daddr, u8 tos, u8 ttl, __be16 sport, __be16 dport, bool xnet, bool fragment)
{
	skb_scrub_packet(skb, xnet);
	skb_clear_hash_if_not_l4(skb);
	skb->ignore_df = fragment;
	udp_tunnel6_xmit_skb(dst, sk, skb, skb->dev, saddr, daddr, tos, ttl, 0, sport, dport, false, 0);
}

#else

struct dst_entry *vnet_route6(struct net *net, struct sock *sk, const struct in6_addr *daddr, int oif, struct in6_addr *saddr)
{
	return ERR_PTR(-EAFNOSUPPORT);
}

struct dst_entry *vnet_tunnel_route6(struct sk_buff *skb, struct net_device *dev, struct net *net, struct sock *sk, int oif,
				     struct in6_addr *saddr, const struct in6_addr *daddr, __be16 port, struct dst_cache *cache)
{
	return ERR_PTR(-EAFNOSUPPORT);
}

bool vnet_is_local6(struct net *net, const struct in6_addr *addr)
{
	return false;
}

int vnet_udp_sock_create6(struct net *net, struct udp_port_cfg *cfg, struct socket **sock)
{
	return -EAFNOSUPPORT;
}

int vnet_join_group6(struct sock *sk, const struct in6_addr *group, int ifindex)
{
	return -EAFNOSUPPORT;
}

void vnet_leave_group6(struct sock *sk, const struct in6_addr *group, int ifindex)
{
}

void vnet_tunnel_xmit6(struct dst_entry *dst, struct sock *sk, struct sk_buff *skb, const struct in6_addr *saddr,
		       const struct in6_addr *daddr, u8 tos, u8 ttl, __be16 sport, __be16 dport, bool xnet, bool fragment)
{
	dst_release(dst);
	kfree_skb(skb);
}

#endif
