// SPDX-License-Identifier: GPL-2.0-only
/*
 * Kernel inlines and macros as functions that Rust can call; see helpers.h. Also the module's parameters, as the kernel's
 * Rust has none that are text.
 */
#include <crypto/chacha20poly1305.h>
#include <crypto/sha2.h>
#include <linux/etherdevice.h>
#include <linux/hash.h>
#include <linux/if_bridge.h>
#include <linux/ipv6.h>
#include <linux/igmp.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/rhashtable.h>
#include <linux/unaligned.h>
#include <linux/version.h>
#include <linux/workqueue.h>
#include <net/dst_cache.h>
#include <net/genetlink.h>
#include <net/gro.h>
#include <net/gro_cells.h>
#include <net/gso.h>
#include <net/inet_ecn.h>
#include <net/ip_tunnels.h>
#include <net/netns/generic.h>
#include <net/route.h>
#include <net/rtnetlink.h>
#include <net/switchdev.h>
#include <net/addrconf.h>
#include <net/ip6_route.h>
#include <net/udp_tunnel.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 3, 0)
#include <crypto/aes-gcm.h>
#endif
#if defined(CONFIG_X86) || defined(CONFIG_ARM64)
#include <asm/cpufeature.h>
#endif

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

/* Hash tables. Keys are compared by function, as the tables' own way is a call of memcmp for each packet. */

static inline int mac_cmp(struct rhashtable_compare_arg *arg, const void *obj)
{
	return *(const u64 *)arg->key != ((const struct vnet_mac_node *)obj)->key;
}

static const struct rhashtable_params mac_params = {
	.head_offset = offsetof(struct vnet_mac_node, node),
	.key_offset = offsetof(struct vnet_mac_node, key),
	.key_len = sizeof_field(struct vnet_mac_node, key),
	.obj_cmpfn = mac_cmp,
	.automatic_shrinking = true,
};

/*
 * Ids are chosen by who administers the host: nobody gains by collisions, and a hash that only spreads will do. What others choose,
 * the MAC addresses, is hashed by jhash.
 */
static inline u32 id_hash(const void *data, u32 len, u32 seed)
{
	u64 hash = get_unaligned((const u64 *)data) * GOLDEN_RATIO_64 ^ get_unaligned((const u64 *)data + 1) ^ seed;

	hash ^= hash >> 32;
	hash *= GOLDEN_RATIO_64;
	return hash ^ hash >> 32;
}

static inline int id_cmp(struct rhashtable_compare_arg *arg, const void *obj)
{
	const u64 *key = arg->key, *own = (const u64 *)((const struct vnet_id_node *)obj)->key;

	return get_unaligned(key) != get_unaligned(own) || get_unaligned(key + 1) != get_unaligned(own + 1);
}

static const struct rhashtable_params id_params = {
	.head_offset = offsetof(struct vnet_id_node, node),
	.key_offset = offsetof(struct vnet_id_node, key),
	.key_len = sizeof_field(struct vnet_id_node, key),
	.hashfn = id_hash,
	.obj_cmpfn = id_cmp,
	.automatic_shrinking = true,
};

int vnet_mac_table_init(struct rhashtable *ht)
{
	return rhashtable_init(ht, &mac_params);
}

struct vnet_mac_node *vnet_mac_table_lookup(struct rhashtable *ht, u64 key)
{
	return rhashtable_lookup(ht, &key, mac_params);
}

int vnet_mac_table_insert(struct rhashtable *ht, struct vnet_mac_node *node)
{
	return rhashtable_lookup_insert_fast(ht, &node->node, mac_params);
}

int vnet_mac_table_remove(struct rhashtable *ht, struct vnet_mac_node *node)
{
	return rhashtable_remove_fast(ht, &node->node, mac_params);
}

int vnet_id_table_init(struct rhashtable *ht)
{
	return rhashtable_init(ht, &id_params);
}

struct vnet_id_node *vnet_id_table_lookup(struct rhashtable *ht, const u8 *key)
{
	return rhashtable_lookup(ht, key, id_params);
}

int vnet_id_table_insert(struct rhashtable *ht, struct vnet_id_node *node)
{
	return rhashtable_lookup_insert_fast(ht, &node->node, id_params);
}

int vnet_id_table_remove(struct rhashtable *ht, struct vnet_id_node *node)
{
	return rhashtable_remove_fast(ht, &node->node, id_params);
}

/* Locks and work. */

/* One function for each kind of lock: the lock validator tells kinds apart by where they are initialised. */
void vnet_fdb_lock_init(spinlock_t *lock)
{
	spin_lock_init(lock);
}

void vnet_sweep_lock_init(spinlock_t *lock)
{
	spin_lock_init(lock);
}

void vnet_remotes_lock_init(spinlock_t *lock)
{
	spin_lock_init(lock);
}

void vnet_varp_lock_init(spinlock_t *lock)
{
	spin_lock_init(lock);
}

void vnet_floods_lock_init(spinlock_t *lock)
{
	spin_lock_init(lock);
}

void vnet_recent_lock_init(spinlock_t *lock)
{
	spin_lock_init(lock);
}

void vnet_senders_lock_init(spinlock_t *lock)
{
	spin_lock_init(lock);
}

void vnet_window_lock_init(spinlock_t *lock)
{
	spin_lock_init(lock);
}

void vnet_spin_lock_bh(spinlock_t *lock)
{
	spin_lock_bh(lock);
}

void vnet_spin_unlock_bh(spinlock_t *lock)
{
	spin_unlock_bh(lock);
}

void vnet_delayed_work_init(struct delayed_work *work, void (*func)(struct work_struct *))
{
	INIT_DELAYED_WORK(work, func);
}

void vnet_delayed_work_queue(struct delayed_work *work, unsigned long delay)
{
	queue_delayed_work(system_power_efficient_wq, work, delay);
}

void vnet_delayed_work_requeue(struct delayed_work *work, unsigned long delay)
{
	mod_delayed_work(system_power_efficient_wq, work, delay);
}

void vnet_cond_resched(void)
{
	cond_resched();
}

u64 vnet_now_ms(void)
{
	return ktime_to_ms(ktime_get_coarse());
}

void vnet_bh_disable(void)
{
	local_bh_disable();
}

void vnet_bh_enable(void)
{
	local_bh_enable();
}

bool vnet_has_ipv6(void)
{
	return IS_ENABLED(CONFIG_IPV6) && ipv6_mod_enabled();
}

unsigned int vnet_jiffies_to_msecs(unsigned long ticks)
{
	return jiffies_to_msecs(ticks);
}

/* Counters, one set a CPU. */

u64 __percpu *vnet_counters_alloc(unsigned int count)
{
	return __alloc_percpu(array_size(count, sizeof(u64)), sizeof(u64));
}

u64 *vnet_raw_cpu_ptr(u64 __percpu *base)
{
	return raw_cpu_ptr(base);
}

void vnet_counters_free(u64 __percpu *counters)
{
	free_percpu(counters);
}

void vnet_counter_add(u64 __percpu *counters, unsigned int index, u64 value)
{
	this_cpu_add(counters[index], value);
}

u64 vnet_counter_sum(u64 __percpu *counters, unsigned int index)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(per_cpu_ptr(counters, cpu)[index]);
	return sum;
}

/* Packets. */

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

/* Ciphers. */

/* HMAC with SHA-256 of parts, one after the other. */
void vnet_hmac_sha256(const u8 *key, size_t key_len, const struct vnet_bytes *parts, size_t count, u8 *code)
{
	struct hmac_sha256_ctx ctx;

	hmac_sha256_init_usingrawkey(&ctx, key, key_len);
	for (size_t i = 0; i < count; i++)
		hmac_sha256_update(&ctx, parts[i].data, parts[i].len);
	hmac_sha256_final(&ctx, code);
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 3, 0) && IS_ENABLED(CONFIG_CRYPTO_LIB_AES_GCM)

/* Without instructions of the processor the time that AES takes can tell of the key. A user-mode kernel is for tests only. */
bool vnet_has_aes(void)
{
#if defined(CONFIG_X86)
	return boot_cpu_has(X86_FEATURE_AES) && boot_cpu_has(X86_FEATURE_PCLMULQDQ);
#elif defined(CONFIG_ARM64)
	return cpu_have_named_feature(AES) && cpu_have_named_feature(PMULL);
#else
	return IS_ENABLED(CONFIG_UML);
#endif
}

struct aes_gcm_key *vnet_aes_key(const u8 *bytes)
{
	struct aes_gcm_key *key = kmalloc(sizeof(*key), GFP_ATOMIC | __GFP_NOWARN);

	if (key && aes_gcm_preparekey(key, bytes, AES_KEYSIZE_256, AES_BLOCK_SIZE)) {
		kfree_sensitive(key);
		return NULL;
	}
	return key;
}

void vnet_aes_key_free(struct aes_gcm_key *key)
{
	kfree_sensitive(key);
}

/* In place; the tag follows the data. */
void vnet_aes_seal(const struct aes_gcm_key *key, u8 *data, size_t len, const u8 *ad, size_t ad_len, const u8 *nonce)
{
	aes_gcm_encrypt(data, data, len, data + len, ad, ad_len, nonce, key);
}

bool vnet_aes_open(const struct aes_gcm_key *key, u8 *data, size_t len, const u8 *ad, size_t ad_len, const u8 *nonce)
{
	return !aes_gcm_decrypt(data, data, len, data + len, ad, ad_len, nonce, key);
}

#else

bool vnet_has_aes(void)
{
	return false;
}

struct aes_gcm_key *vnet_aes_key(const u8 *bytes)
{
	return NULL;
}

void vnet_aes_key_free(struct aes_gcm_key *key)
{
}

void vnet_aes_seal(const struct aes_gcm_key *key, u8 *data, size_t len, const u8 *ad, size_t ad_len, const u8 *nonce)
{
}

bool vnet_aes_open(const struct aes_gcm_key *key, u8 *data, size_t len, const u8 *ad, size_t ad_len, const u8 *nonce)
{
	return false;
}

#endif

/* Bridges. */

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

/* Generic receive offload. */

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

/* Sockets. */

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

/* Namespaces and devices. */

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

/* Generic netlink. */

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
