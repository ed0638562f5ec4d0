// SPDX-License-Identifier: GPL-2.0-only
/* Sockets. */
#include <linux/igmp.h>
#include <linux/version.h>
#include <net/route.h>
#include <net/udp_tunnel.h>

#include "helpers.h"

/*
 * Whose socket a packet came in by, how far behind the beginning of the buffer its IP header is, and whether its route says that it
 * was a broadcast. One call, as it is made for every packet.
 */
void *vnet_encap_begin(struct sock *sk, const struct sk_buff *skb, unsigned int *outer, bool *broadcast)
{
	const struct rtable *rt = skb_rtable(skb);

	*outer = skb_network_header(skb) - skb->head;
	/* The routes of IPv6 have no such flag; they are not looked at. */
	*broadcast = skb->protocol == htons(ETH_P_IP) && rt && rt->rt_flags & RTCF_BROADCAST;
	return rcu_dereference_sk_user_data(sk);
}

/* The kernel took a struct socket before 7.2. */
void vnet_setup_udp_tunnel_sock(struct net *net, struct sock *sk, void *cfg)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 0)
	setup_udp_tunnel_sock(net, sk, cfg);
#else
	setup_udp_tunnel_sock(net, sk->sk_socket, cfg);
#endif
#if IS_ENABLED(CONFIG_IPV6)
	/* What goes to the group is not for us. The kernel sees to that for IPv4 only. */
	if (sk->sk_family == AF_INET6)
		inet6_clear_bit(MC6_LOOP, sk);
#endif
}

void vnet_udp_tunnel_sock_release(struct socket *sock)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 0)
	udp_tunnel_sock_release(sock->sk);
#else
	udp_tunnel_sock_release(sock);
#endif
}

/* A socket for a group membership: bound to nothing. */
int vnet_group_sock_create(struct net *net, int family, struct socket **sock)
{
	return sock_create_kern(net, family, SOCK_DGRAM, IPPROTO_UDP, sock);
}

int vnet_join_group(struct sock *sk, __be32 group, int ifindex)
{
	struct ip_mreqn mreq = {
		.imr_multiaddr.s_addr = group,
		.imr_ifindex = ifindex,
	};
	int err;

	lock_sock(sk);
	err = ip_mc_join_group(sk, &mreq);
	release_sock(sk);
	return err;
}

void vnet_leave_group(struct sock *sk, __be32 group, int ifindex)
{
	struct ip_mreqn mreq = {
		.imr_multiaddr.s_addr = group,
		.imr_ifindex = ifindex,
	};

	lock_sock(sk);
	ip_mc_leave_group(sk, &mreq);
	release_sock(sk);
}
