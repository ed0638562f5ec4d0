/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Kernel inlines and macros as functions that Rust can call. Each does what the inline of the same name does and no more,
 * unless a comment says so. When the kernel's own Rust abstractions cover one, it can go.
 */
#ifndef VNET_HELPERS_H
#define VNET_HELPERS_H

#include <linux/rhashtable-types.h>
#include <linux/types.h>

struct aes_gcm_key;
struct delayed_work;
struct dst_cache;
struct dst_entry;
struct in6_addr;
struct udp_port_cfg;
struct genl_family;
struct module;
struct net;
struct net_device;
struct notifier_block;
struct netlink_callback;
struct nlattr;
struct rtable;
struct sk_buff;
struct sock;
struct socket;

/* An object in a hash table keyed by an Ethernet address, in the low 48 bits. */
struct vnet_mac_node {
	struct rhash_head node;
	u64 key;
};

/* An object in a hash table keyed by 16 bytes: a vnet's id, or the address of a host. */
struct vnet_id_node {
	struct rhash_head node;
	u8 key[16];
};

/* What a bridge has learned or forgotten. */
struct vnet_bridge_mac {
	u8 addr[6];
	bool gone;
	u16 vid;
	struct net_device *port;
	struct net_device *bridge;
};

/* Some bytes. */
struct vnet_bytes {
	const u8 *data;
	size_t len;
};

struct module *vnet_this_module(void);
const char *vnet_param_group(void);
const char *vnet_param_device(void);
unsigned int vnet_param_port(void);
unsigned int vnet_param_ttl(void);

int vnet_mac_table_init(struct rhashtable *ht);
struct vnet_mac_node *vnet_mac_table_lookup(struct rhashtable *ht, u64 key);
int vnet_mac_table_insert(struct rhashtable *ht, struct vnet_mac_node *node);
int vnet_mac_table_remove(struct rhashtable *ht, struct vnet_mac_node *node);
int vnet_id_table_init(struct rhashtable *ht);
struct vnet_id_node *vnet_id_table_lookup(struct rhashtable *ht, const u8 *key);
int vnet_id_table_insert(struct rhashtable *ht, struct vnet_id_node *node);
int vnet_id_table_remove(struct rhashtable *ht, struct vnet_id_node *node);

void vnet_fdb_lock_init(spinlock_t *lock);
void vnet_sweep_lock_init(spinlock_t *lock);
void vnet_remotes_lock_init(spinlock_t *lock);
void vnet_varp_lock_init(spinlock_t *lock);
void vnet_floods_lock_init(spinlock_t *lock);
void vnet_recent_lock_init(spinlock_t *lock);
void vnet_senders_lock_init(spinlock_t *lock);
void vnet_window_lock_init(spinlock_t *lock);
void vnet_spin_lock_bh(spinlock_t *lock);
void vnet_spin_unlock_bh(spinlock_t *lock);
void vnet_delayed_work_init(struct delayed_work *work, void (*func)(struct work_struct *));
void vnet_delayed_work_queue(struct delayed_work *work, unsigned long delay);
void vnet_delayed_work_requeue(struct delayed_work *work, unsigned long delay);
void vnet_cond_resched(void);
u64 vnet_now_ms(void);
void vnet_bh_disable(void);
void vnet_bh_enable(void);
bool vnet_has_ipv6(void);
unsigned int vnet_jiffies_to_msecs(unsigned long ticks);

u64 __percpu *vnet_counters_alloc(unsigned int count);
u64 *vnet_raw_cpu_ptr(u64 __percpu *base);
void vnet_counters_free(u64 __percpu *counters);
void vnet_counter_add(u64 __percpu *counters, unsigned int index, u64 value);
u64 vnet_counter_sum(u64 __percpu *counters, unsigned int index);

bool vnet_skb_may_pull(struct sk_buff *skb, unsigned int len);
void vnet_skb_turn_back(struct sk_buff *skb, struct net_device *dev);
void vnet_skb_drop(struct sk_buff *skb);
struct sk_buff *vnet_skb_clone(struct sk_buff *skb);
bool vnet_skb_keep(struct sk_buff *skb);
struct sk_buff *vnet_skb_segments(struct sk_buff *skb);
struct sk_buff *vnet_skb_next(struct sk_buff *skb);
bool vnet_skb_is_gso(const struct sk_buff *skb);
int vnet_skb_checksum_help(struct sk_buff *skb);
int vnet_skb_trim(struct sk_buff *skb, unsigned int len);
struct sk_buff *vnet_skb_message(unsigned int len);
struct sk_buff *vnet_skb_around(const struct sk_buff *frame, unsigned int before, unsigned int after);
struct sk_buff *vnet_skb_copy(const struct sk_buff *skb);
struct sk_buff *vnet_skb_light_segments(struct sk_buff *skb);
int vnet_skb_writable(struct sk_buff *skb);
__be16 vnet_skb_flow_port(struct net *net, struct sk_buff *skb);
int vnet_skb_begin_frame(struct sk_buff *skb);
int vnet_skb_tunnel_check_pmtu(struct sk_buff *skb, struct dst_entry *dst, int headroom, const struct net_device *dev,
			       bool answers);
void *vnet_skb_tunnel_push(struct sk_buff *skb, struct dst_entry *dst, unsigned int len, unsigned int ip_len);
struct dst_entry *vnet_tunnel_route4(struct sk_buff *skb, struct net_device *dev, struct net *net, int oif, __be32 *saddr,
				     __be32 daddr, __be16 port, struct dst_cache *cache);
struct dst_entry *vnet_tunnel_route6(struct sk_buff *skb, struct net_device *dev, struct net *net, struct sock *sk, int oif,
				     struct in6_addr *saddr, const struct in6_addr *daddr, __be16 port, struct dst_cache *cache);
int vnet_skb_enter(struct sk_buff *skb, struct net_device *dev, u8 outer);
int vnet_switchdev_register(struct notifier_block *nb);
void vnet_switchdev_unregister(struct notifier_block *nb);
bool vnet_switchdev_info(unsigned long event, void *info, struct vnet_bridge_mac *mac);
bool vnet_is_port_of(struct net_device *dev, const struct net_device *bridge, u16 vid);
int vnet_for_each_lower(struct net_device *dev, int (*fn)(struct net_device *dev, void *data), void *data);
void vnet_dstats_rx_add(struct net_device *dev, unsigned int len);
void vnet_dstats_rx_dropped(struct net_device *dev);
void vnet_dstats_tx_dropped(struct net_device *dev);
void vnet_dst_hold(struct dst_entry *dst);
void vnet_dst_release(struct dst_entry *dst);
int vnet_dst_cache_init(struct dst_cache *cache);
void vnet_dst_cache_reset(struct dst_cache *cache);
struct net_device *vnet_dst_dev(const struct dst_entry *dst);
u32 vnet_dst_mtu(const struct dst_entry *dst);
struct dst_entry *vnet_route4(struct net *net, __be32 daddr, int oif, __be32 *saddr);
struct dst_entry *vnet_route6(struct net *net, struct sock *sk, const struct in6_addr *daddr, int oif, struct in6_addr *saddr);
bool vnet_is_local6(struct net *net, const struct in6_addr *addr);

const void *vnet_gro_begin(struct sk_buff *skb, unsigned int len, unsigned int *offset);
struct sk_buff *vnet_gro_receive_inner(struct list_head *head, struct sk_buff *skb, const void *start, unsigned int len);
void vnet_gro_refuse(struct sk_buff *skb);
bool vnet_gro_same_flow(struct sk_buff *skb);
void vnet_gro_clear_same_flow(struct sk_buff *skb);

void *vnet_encap_begin(struct sock *sk, const struct sk_buff *skb, unsigned int *outer, bool *broadcast);
void vnet_setup_udp_tunnel_sock(struct net *net, struct sock *sk, void *cfg);
void vnet_udp_tunnel_sock_release(struct socket *sock);
int vnet_group_sock_create(struct net *net, int family, struct socket **sock);
int vnet_join_group(struct sock *sk, __be32 group, int ifindex);
void vnet_leave_group(struct sock *sk, __be32 group, int ifindex);
int vnet_udp_sock_create6(struct net *net, struct udp_port_cfg *cfg, struct socket **sock);
int vnet_join_group6(struct sock *sk, const struct in6_addr *group, int ifindex);
void vnet_leave_group6(struct sock *sk, const struct in6_addr *group, int ifindex);
void vnet_tunnel_xmit6(struct dst_entry *dst, struct sock *sk, struct sk_buff *skb, const struct in6_addr *saddr,
		       const struct in6_addr *daddr, u8 tos, u8 ttl, __be16 sport, __be16 dport, bool xnet, bool fragment);

void *vnet_net_generic(const struct net *net, unsigned int id);
int vnet_peernet2id_alloc(struct net *net, struct net *peer);
struct net *vnet_dev_net(const struct net_device *dev);
void vnet_netdev_init(struct net_device *dev);
void vnet_netdev_lockdep_set_classes(struct net_device *dev);
u64 vnet_dev_tx_lost(const struct net_device *dev);

struct sk_buff *vnet_genlmsg_new(void);
void vnet_genlmsg_end(struct sk_buff *skb, void *header);
void vnet_genlmsg_cancel(struct sk_buff *skb, void *header);
void vnet_nlmsg_free(struct sk_buff *skb);
int vnet_genlmsg_unicast(struct net *net, struct sk_buff *skb, u32 portid);
int vnet_genlmsg_multicast(struct genl_family *family, struct net *net, struct sk_buff *skb, u32 portid, unsigned int group);
void vnet_genl_lost(const struct genl_family *family, struct net *net, unsigned int group);
struct nlattr *vnet_nest_start(struct sk_buff *skb, int type);
void vnet_nest_end(struct sk_buff *skb, struct nlattr *start);
u32 vnet_netlink_cb_portid(struct sk_buff *skb);
void vnet_dump_check_consistent(struct netlink_callback *cb, void *header);

void vnet_hmac_sha256(const u8 *key, size_t key_len, const struct vnet_bytes *parts, size_t count, u8 *code);
bool vnet_has_aes(void);
struct aes_gcm_key *vnet_aes_key(const u8 *bytes);
void vnet_aes_key_free(struct aes_gcm_key *key);
void vnet_aes_seal(const struct aes_gcm_key *key, u8 *data, size_t len, const u8 *ad, size_t ad_len, const u8 *nonce);
bool vnet_aes_open(const struct aes_gcm_key *key, u8 *data, size_t len, const u8 *ad, size_t ad_len, const u8 *nonce);

#endif
