// SPDX-License-Identifier: GPL-2.0-only
/* Generic receive offload. */
#include <linux/etherdevice.h>
#include <net/gro.h>

#include "helpers.h"

/*
 * The len bytes that come next in a packet, and where they begin, or NULL if they are not there, or if the outer destination is a
 * multicast group. The outer headers were just looked at by the layers below.
 */
const void *vnet_gro_begin(struct sk_buff *skb, unsigned int len, unsigned int *offset)
{
	const struct iphdr *iph = skb_gro_network_header(skb);

	if (iph->version == 4 ? ipv4_is_multicast(iph->daddr) : ipv6_addr_is_multicast(&((const struct ipv6hdr *)iph)->daddr))
		return NULL;
	*offset = skb_gro_offset(skb);
	return skb_gro_header(skb, *offset + len, *offset);
}

/* Goes on with the Ethernet frame behind the header of len bytes. */
struct sk_buff *vnet_gro_receive_inner(struct list_head *head, struct sk_buff *skb, const void *start, unsigned int len)
{
	struct sk_buff *merged;

	skb_gro_postpull_rcsum(skb, start, len);
	skb_gro_pull(skb, len);
	merged = call_gro_receive(eth_gro_receive, head, skb);
	skb_gro_flush_final(skb, merged, 0);
	return merged;
}

/* The packet goes on as it is. */
void vnet_gro_refuse(struct sk_buff *skb)
{
	skb_gro_flush_final(skb, NULL, 1);
}

bool vnet_gro_same_flow(struct sk_buff *skb)
{
	return NAPI_GRO_CB(skb)->same_flow;
}

void vnet_gro_clear_same_flow(struct sk_buff *skb)
{
	NAPI_GRO_CB(skb)->same_flow = 0;
}
