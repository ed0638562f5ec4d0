// SPDX-License-Identifier: GPL-2.0-only
/* Packets. */
#include <linux/etherdevice.h>
#include <linux/skbuff.h>
#include <linux/version.h>
#include <net/gro_cells.h>
#include <net/gso.h>
#include <net/inet_ecn.h>
#include <net/ip_tunnels.h>
#include <net/udp_tunnel.h>

#include "helpers.h"

bool vnet_skb_may_pull(struct sk_buff *skb, unsigned int len)
{
	return pskb_may_pull(skb, len);
}

/*
 * Begins with a frame that is to be sent: sets where its Ethernet and network headers are, the latter behind any VLAN tags,
 * and brings it into the linear part. Returns the type of service of the inner packet, and from bit 8 its TTL; 0 if it is
 * not IP, and an error if it is cut off.
 */
int vnet_skb_begin_frame(struct sk_buff *skb)
{
	skb_reset_mac_header(skb);
	if (skb_vlan_inet_prepare(skb, false) != SKB_NOT_DROPPED_YET)
		return -EINVAL;
	switch (skb_protocol(skb, true)) {
	case htons(ETH_P_IP):
		return ip_hdr(skb)->tos | ip_hdr(skb)->ttl << 8;
	case htons(ETH_P_IPV6):
		return ipv6_get_dsfield(ipv6_hdr(skb)) | ipv6_hdr(skb)->hop_limit << 8;
	}
	return 0;
}

/*
 * The kernel's function resets the GSO fields of a packet that is too big and is going to be answered. Copies of a flooded
 * packet share them: such a packet gets fields of its own first.
 */
int vnet_skb_tunnel_check_pmtu(struct sk_buff *skb, struct dst_entry *dst, int headroom, const struct net_device *dev,
			       bool answers)
{
	bool reply = answers && netif_is_any_bridge_port(dev);

	if (reply && skb_is_gso(skb) && !skb_gso_validate_network_len(skb, dst_mtu(dst) - headroom) &&
	    skb_unclone(skb, GFP_ATOMIC))
		return -ENOMEM;
	return skb_tunnel_check_pmtu(skb, dst, headroom, reply);
}

/* As the kernel's own tunnels do with what skb_tunnel_check_pmtu() made of a packet. */
void vnet_skb_turn_back(struct sk_buff *skb, struct net_device *dev)
{
	skb->pkt_type = PACKET_HOST;
	skb->protocol = eth_type_trans(skb, dev);
	netif_rx(skb);
}

void vnet_skb_drop(struct sk_buff *skb)
{
	kfree_skb(skb);
}

struct sk_buff *vnet_skb_clone(struct sk_buff *skb)
{
	return skb_clone(skb, GFP_ATOMIC);
}

/*
 * Makes a packet one that can wait: it must not keep what it came from, which may be a guest's memory, nor refer to what
 * lives only until then. False without memory.
 */
bool vnet_skb_keep(struct sk_buff *skb)
{
	if (skb_orphan_frags(skb, GFP_ATOMIC))
		return false;
	skb_orphan(skb);
	nf_reset_ct(skb);
	skb_dst_force(skb);
	return true;
}

bool vnet_skb_is_gso(const struct sk_buff *skb)
{
	return skb_is_gso(skb);
}

/* The segments of a packet that is to be sent, as a list, or NULL; the packet itself stays. */
struct sk_buff *vnet_skb_segments(struct sk_buff *skb)
{
	struct sk_buff *list = skb_gso_segment(skb, 0);

	return IS_ERR(list) ? NULL : list;
}

/* Takes a packet off the list that it is the first of, and returns what is left. */
struct sk_buff *vnet_skb_next(struct sk_buff *skb)
{
	struct sk_buff *next = skb->next;

	skb_mark_not_on_list(skb);
	return next;
}

int vnet_skb_checksum_help(struct sk_buff *skb)
{
	if (skb_is_gso(skb))
		return -EINVAL;
	return skb->ip_summed == CHECKSUM_PARTIAL ? skb_checksum_help(skb) : 0;
}

int vnet_skb_trim(struct sk_buff *skb, unsigned int len)
{
	return pskb_trim_rcsum(skb, len);
}

/* A packet of so many zero bytes, with room in front for what a UDP tunnel puts there. */
struct sk_buff *vnet_skb_message(unsigned int len)
{
	unsigned int room = LL_MAX_HEADER + sizeof(struct ipv6hdr) + sizeof(struct udphdr);
	struct sk_buff *skb = alloc_skb(room + len, GFP_ATOMIC | __GFP_NOWARN);

	if (!skb)
		return NULL;
	skb_reserve(skb, room);
	skb_put_zero(skb, len);
	/* The headers in front of an inner packet would be counted from there. */
	skb_reset_inner_network_header(skb);
	return skb;
}

/*
 * A packet with room for what is put before and after a frame, the frame between with the checksum that was left to a device, and all
 * by which the network below tells flows apart. The device that took the frame counts what is before the inner IP header as its own.
 */
struct sk_buff *vnet_skb_around(const struct sk_buff *frame, unsigned int before, unsigned int after)
{
	unsigned int room = LL_MAX_HEADER + sizeof(struct ipv6hdr) + sizeof(struct udphdr);
	unsigned int len = before + frame->len + after;
	struct sk_buff *skb = alloc_skb(room + len, GFP_ATOMIC | __GFP_NOWARN);
	u8 *data;

	if (!skb)
		return NULL;
	skb_reserve(skb, room);
	data = skb_put(skb, len);
	memset(data, 0, before);
	if (frame->ip_summed == CHECKSUM_PARTIAL)
		skb_copy_and_csum_dev(frame, data + before);
	else if (skb_copy_bits(frame, 0, data + before, frame->len))
		goto drop;
	memset(data + before + frame->len, 0, after);
	skb->dev = frame->dev;
	skb->priority = frame->priority;
	skb->mark = frame->mark;
	skb_copy_hash(skb, frame);
	skb_set_inner_network_header(skb, before + after + skb_network_offset(frame));
	return skb;
drop:
	kfree_skb(skb);
	return NULL;
}

struct sk_buff *vnet_skb_copy(const struct sk_buff *skb)
{
	return skb_copy(skb, GFP_ATOMIC | __GFP_NOWARN);
}

/* Segments that refer to the data of what they are cut from, and whose checksums are left to be filled in. */
struct sk_buff *vnet_skb_light_segments(struct sk_buff *skb)
{
	struct sk_buff *list = skb_gso_segment(skb, NETIF_F_SG | NETIF_F_HW_CSUM | NETIF_F_HIGHDMA);

	return IS_ERR(list) ? NULL : list;
}

/* Brings all of a packet into one piece, of a head that nobody shares, to be changed: no checksum holds from then on. */
int vnet_skb_writable(struct sk_buff *skb)
{
	int err = skb_ensure_writable(skb, skb->len);

	if (!err)
		skb->ip_summed = CHECKSUM_NONE;
	return err;
}

/* The source port for the flow of an inner frame, out of those that the namespace uses for its own. */
__be16 vnet_skb_flow_port(struct net *net, struct sk_buff *skb)
{
	return udp_flow_src_port(net, skb, 0, 0, true);
}

/*
 * RFC 6040, on the way out of the tunnel. The inner network header must be set and in the linear part. A positive number
 * if the marks contradict, a negative one without memory: a mark is written into a head that nobody shares.
 */
static int vnet_skb_ecn_decapsulate(struct sk_buff *skb, u8 outer)
{
	unsigned int len;
	u8 inner;

	switch (skb->protocol) {
	case htons(ETH_P_IP):
		len = sizeof(struct iphdr);
		break;
	case htons(ETH_P_IPV6):
		len = sizeof(struct ipv6hdr);
		break;
	default:
		return 0;
	}
	len += skb_network_offset(skb);
	if (skb_headlen(skb) < len)
		return 0;
	if (INET_ECN_is_ce(outer) && skb_ensure_writable(skb, len))
		return -ENOMEM;
	if (skb->protocol == htons(ETH_P_IP))
		inner = ip_hdr(skb)->tos;
	else
		inner = ipv6_get_dsfield(ipv6_hdr(skb));
	return INET_ECN_decapsulate(skb, outer, inner) > 1;
}

/*
 * Makes a frame, whose Ethernet header is in the linear part, one that came in on a device: takes that header off, brings an IP
 * header that follows into the linear part, and takes the outer congestion marks over, see above. -EINVAL if an IP header is cut off.
 */
int vnet_skb_enter(struct sk_buff *skb, struct net_device *dev, u8 outer)
{
	const void *header = skb->data;

	skb_reset_mac_header(skb);
	skb->protocol = eth_type_trans(skb, dev);
	skb_postpull_rcsum(skb, header, ETH_HLEN);
	skb_reset_network_header(skb);
	if (!pskb_inet_may_pull(skb))
		return -EINVAL;
	return vnet_skb_ecn_decapsulate(skb, outer);
}

/*
 * Makes room for len bytes of ours and the outer headers in front of an inner frame, and keeps its segments whole. Returns
 * where the len bytes begin. Without memory, NULL: the packet is as it was or has a larger head.
 */
void *vnet_skb_tunnel_push(struct sk_buff *skb, struct dst_entry *dst, unsigned int len, unsigned int ip_len)
{
	bool double_encap = false;

	if (unlikely(skb_cow_head(skb, LL_RESERVED_SPACE(dst_dev(dst)) + dst->header_len + ip_len +
				       sizeof(struct udphdr) + len)))
		return NULL;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
	double_encap = udp_tunnel_handle_partial(skb);
#endif
	if (unlikely(iptunnel_handle_offloads(skb, SKB_GSO_UDP_TUNNEL_CSUM)))
		return NULL;
	if (!double_encap)
		skb_set_inner_protocol(skb, htons(ETH_P_TEB));
	return __skb_push(skb, len);
}
