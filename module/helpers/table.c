// SPDX-License-Identifier: GPL-2.0-only
/* Hash tables. Keys are compared by function, as the tables' own way is a call of memcmp for each packet. */
#include <linux/hash.h>
#include <linux/rhashtable.h>
#include <linux/unaligned.h>

#include "helpers.h"

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
