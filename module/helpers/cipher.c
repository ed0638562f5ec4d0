// SPDX-License-Identifier: GPL-2.0-only
/* Ciphers. */
#include <crypto/sha2.h>
#include <linux/slab.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 3, 0)
#include <crypto/aes-gcm.h>
#endif
#if defined(CONFIG_X86) || defined(CONFIG_ARM64)
#include <asm/cpufeature.h>
#endif

#include "helpers.h"

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
