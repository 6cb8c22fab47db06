// SPDX-License-Identifier: GPL-2.0-only
/* Encryption from one dynptr into another. The vectors are those of FIPS 197, appendix C.1. */
#include "harness.h"

struct bpf_crypto_params {
	char type[14];
	__u8 reserved[2];
	char algo[128];
	__u8 key[256];
	__u32 key_len;
	__u32 authsize;
};

extern struct bpf_crypto_ctx *bpf_crypto_ctx_create(const struct bpf_crypto_params *params, __u32 params__sz,
						    int *err) __ksym __weak;
extern void bpf_crypto_ctx_release(struct bpf_crypto_ctx *ctx) __ksym __weak;
extern int bpf_crypto_encrypt(struct bpf_crypto_ctx *ctx, const struct bpf_dynptr *from, const struct bpf_dynptr *to,
			      const struct bpf_dynptr *iv) __ksym __weak;
extern int bpf_crypto_decrypt(struct bpf_crypto_ctx *ctx, const struct bpf_dynptr *from, const struct bpf_dynptr *to,
			      const struct bpf_dynptr *iv) __ksym __weak;

#define BLOCK 16

static const __u8 secret[BLOCK] = { 0x69, 0xc4, 0xe0, 0xd8, 0x6a, 0x7b, 0x04, 0x30,
				    0xd8, 0xcd, 0xb7, 0x80, 0x70, 0xb4, 0xc5, 0x5a };

/* Only a program of this type may make the context that the others use. */
SEC("syscall")
int crypto_setup(void *unused)
{
	struct bpf_crypto_params params = { .type = "skcipher", .algo = "ecb(aes)", .key_len = BLOCK };
	struct crypto_value *value;
	struct bpf_crypto_ctx *ctx;
	__u32 zero = 0;
	int err = 0;

	for (int i = 0; i < BLOCK; i++)
		params.key[i] = i;
	ctx = bpf_crypto_ctx_create(&params, sizeof(params), &err);
	if (!ctx)
		return err;
	value = bpf_map_lookup_elem(&crypto_contexts, &zero);
	if (!value) {
		bpf_crypto_ctx_release(ctx);
		return -ENOENT;
	}
	ctx = bpf_kptr_xchg(&value->ctx, ctx);
	if (ctx)
		bpf_crypto_ctx_release(ctx);
	return 0;
}

/* The context, and values 0 and 1 as `from` and `to`. */
#define CRYPTO()                                                                          \
	struct value *plain = value_of(0), *cipher = value_of(1);                         \
	struct bpf_dynptr from, to, null;                                                 \
	struct crypto_value *value;                                                       \
	struct bpf_crypto_ctx *ctx;                                                       \
	__u32 zero = 0;                                                                   \
	value = bpf_map_lookup_elem(&crypto_contexts, &zero);                             \
	if (!value || !plain || !cipher)                                                  \
		return TC_OK;                                                             \
	ctx = value->ctx;                                                                 \
	if (!EXPECT_TRUE(ctx))                                                            \
		return TC_OK;                                                             \
	if (!ctx)                                                                         \
		return TC_OK;                                                             \
	EXPECT_EQ(bpf_dynptr_from_mem(plain, BLOCK, 0, &from), 0);                        \
	EXPECT_EQ(bpf_dynptr_from_mem(cipher, BLOCK, 0, &to), 0);                         \
	EXPECT_EQ(bpf_dynptr_from_mem(cipher, BLOCK, 1, &null), -EINVAL)

SEC("tc")
int encrypt_sanity(struct __sk_buff *skb)
{
	CRYPTO();

	for (int i = 0; i < BLOCK; i++)
		plain->bytes[i] = i * 0x11;
	EXPECT_EQ(bpf_crypto_encrypt(ctx, &from, &to, NULL), 0);
	for (int i = 0; i < BLOCK; i++)
		EXPECT_EQ(cipher->bytes[i], secret[i]);
	EXPECT_EQ(cipher->bytes[BLOCK], 0);
	return done();
}

SEC("tc")
int decrypt_sanity(struct __sk_buff *skb)
{
	CRYPTO();

	for (int i = 0; i < BLOCK; i++)
		plain->bytes[i] = secret[i];
	EXPECT_EQ(bpf_crypto_decrypt(ctx, &from, &to, NULL), 0);
	for (int i = 0; i < BLOCK; i++)
		EXPECT_EQ(cipher->bytes[i], i * 0x11);
	return done();
}

/* Into the packet, and back out of it. */
SEC("tc")
int crypto_packet(struct __sk_buff *skb)
{
	struct bpf_dynptr packet;
	__u8 in[BLOCK] = {};
	CRYPTO();

	for (int i = 0; i < BLOCK; i++)
		plain->bytes[i] = i * 0x11;
	EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &packet), 0);
	EXPECT_EQ(bpf_dynptr_adjust(&packet, 32, 32 + BLOCK), 0);
	EXPECT_EQ(bpf_crypto_encrypt(ctx, &from, &packet, NULL), 0);
	EXPECT_EQ(bpf_skb_load_bytes(skb, 32, in, BLOCK), 0);
	EXPECT_EQ(in[0], secret[0]);
	EXPECT_EQ(in[15], secret[15]);
	EXPECT_EQ(bpf_crypto_decrypt(ctx, &packet, &to, NULL), 0);
	EXPECT_EQ(cipher->bytes[1], 0x11);
	EXPECT_EQ(cipher->bytes[15], 0xff);
	return done();
}

/* A part of a block, more than there is room for, and no memory at all. */
SEC("tc")
int crypto_errors(struct __sk_buff *skb)
{
	CRYPTO();

	EXPECT_EQ(bpf_crypto_encrypt(ctx, &null, &to, NULL), -EINVAL);
	EXPECT_EQ(bpf_crypto_encrypt(ctx, &from, &null, NULL), -EINVAL);
	EXPECT_EQ(bpf_crypto_decrypt(ctx, &null, &to, NULL), -EINVAL);
	EXPECT_EQ(bpf_crypto_decrypt(ctx, &from, &null, NULL), -EINVAL);
	EXPECT_EQ(bpf_dynptr_adjust(&to, 0, BLOCK - 1), 0);
	EXPECT_EQ(bpf_crypto_encrypt(ctx, &from, &to, NULL), -EINVAL);
	EXPECT_EQ(bpf_crypto_decrypt(ctx, &from, &to, NULL), -EINVAL);
	EXPECT_EQ(bpf_dynptr_adjust(&from, 0, BLOCK - 1), 0);
	EXPECT_EQ(bpf_crypto_encrypt(ctx, &from, &to, NULL), -EINVAL);
	EXPECT_EQ(bpf_crypto_decrypt(ctx, &from, &to, NULL), -EINVAL);
	EXPECT_EQ(cipher->bytes[0], 0);
	return done();
}

/* --- refused ------------------------------------------------------------------------------------------------------ */

SEC("syscall")
int crypto_acquire(void *unused)
{
	struct bpf_crypto_params params = { .type = "skcipher", .algo = "ecb(aes)", .key_len = BLOCK };
	int err = 0;

	bpf_crypto_ctx_create(&params, sizeof(params), &err);
	return err;
}

SEC("tc")
int encrypt_uninitialised(struct __sk_buff *skb)
{
	struct bpf_dynptr none = {};
	CRYPTO();

	bpf_crypto_encrypt(ctx, &none, &to, NULL);
	return TC_OK;
}

SEC("tc")
int decrypt_uninitialised(struct __sk_buff *skb)
{
	struct bpf_dynptr none = {};
	CRYPTO();

	bpf_crypto_decrypt(ctx, &from, &none, NULL);
	return TC_OK;
}
