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

static __always_inline int keep_context(struct bpf_crypto_params *params)
{
	struct crypto_value *value;
	struct bpf_crypto_ctx *ctx;
	__u32 zero = 0;
	int err = 0;

	ctx = bpf_crypto_ctx_create(params, sizeof(*params), &err);
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

/* Only a program of this type may make the context that the others use. */
SEC("syscall")
int crypto_setup(void *unused)
{
	struct bpf_crypto_params params = { .type = "skcipher", .algo = "ecb(aes)", .key_len = BLOCK };

	for (int i = 0; i < BLOCK; i++)
		params.key[i] = i;
	return keep_context(&params);
}

/* The key, and below the vector and the blocks, of NIST SP 800-38A, F.2.1. */
SEC("syscall")
int crypto_setup_chained(void *unused)
{
	struct bpf_crypto_params params = { .type = "skcipher", .algo = "cbc(aes)", .key_len = BLOCK };
	const __u8 key[BLOCK] = { 0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6,
				  0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c };

	__builtin_memcpy(params.key, key, BLOCK);
	return keep_context(&params);
}

static const __u8 chained_plain[BLOCK] = { 0x6b, 0xc1, 0xbe, 0xe2, 0x2e, 0x40, 0x9f, 0x96,
					   0xe9, 0x3d, 0x7e, 0x11, 0x73, 0x93, 0x17, 0x2a };
static const __u8 chained_secret[BLOCK] = { 0x76, 0x49, 0xab, 0xac, 0x81, 0x19, 0xb2, 0x46,
					    0xce, 0xe9, 0x8e, 0x9b, 0x12, 0xe9, 0x19, 0x7d };

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

/* Nothing is nothing to encrypt, nor a place for it. A cipher without a vector takes an empty one, and no other. */
SEC("tc")
int crypto_sizes(struct __sk_buff *skb)
{
	struct bpf_dynptr iv, nothing;
	CRYPTO();

	EXPECT_EQ(bpf_dynptr_from_mem(plain->bytes + 64, BLOCK, 0, &iv), 0);
	EXPECT_EQ(bpf_dynptr_clone(&from, &nothing), 0);
	EXPECT_EQ(bpf_dynptr_adjust(&nothing, 4, 4), 0);
	EXPECT_EQ(bpf_crypto_encrypt(ctx, &nothing, &to, NULL), -EINVAL);
	EXPECT_EQ(bpf_crypto_decrypt(ctx, &nothing, &to, NULL), -EINVAL);
	EXPECT_EQ(bpf_crypto_encrypt(ctx, &from, &nothing, NULL), -EINVAL);
	EXPECT_EQ(bpf_crypto_decrypt(ctx, &from, &nothing, NULL), -EINVAL);
	EXPECT_EQ(bpf_crypto_encrypt(ctx, &from, &to, &iv), -EINVAL);
	EXPECT_EQ(bpf_crypto_decrypt(ctx, &from, &to, &iv), -EINVAL);
	EXPECT_EQ(cipher->bytes[0], 0);
	EXPECT_EQ(bpf_crypto_encrypt(ctx, &from, &to, &nothing), 0);
	EXPECT_EQ(bpf_crypto_decrypt(ctx, &to, &from, &nothing), 0);
	EXPECT_EQ(plain->bytes[0], 0);
	EXPECT_EQ(plain->bytes[BLOCK - 1], 0);
	return done();
}

/* A vector of just the length that the cipher has it, at an offset as well as not. */
SEC("tc")
int crypto_vector(struct __sk_buff *skb)
{
	struct bpf_dynptr iv;
	CRYPTO();

	for (int i = 0; i < BLOCK; i++) {
		plain->bytes[i] = chained_plain[i];
		plain->bytes[64 + 4 + i] = i;
	}
	EXPECT_EQ(bpf_crypto_encrypt(ctx, &from, &to, NULL), -EINVAL);
	EXPECT_EQ(bpf_crypto_decrypt(ctx, &from, &to, NULL), -EINVAL);
	EXPECT_EQ(bpf_crypto_encrypt(ctx, &from, &to, &null), -EINVAL);
	EXPECT_EQ(bpf_dynptr_from_mem(plain->bytes + 64, BLOCK + 8, 0, &iv), 0);
	EXPECT_EQ(bpf_crypto_encrypt(ctx, &from, &to, &iv), -EINVAL);
	EXPECT_EQ(bpf_crypto_decrypt(ctx, &from, &to, &iv), -EINVAL);
	EXPECT_EQ(cipher->bytes[0], 0);
	EXPECT_EQ(bpf_dynptr_adjust(&iv, 4, 4 + BLOCK), 0);
	EXPECT_EQ(bpf_crypto_encrypt(ctx, &from, &to, &iv), 0);
	for (int i = 0; i < BLOCK; i++) {
		EXPECT_EQ(cipher->bytes[i], chained_secret[i]);
		plain->bytes[64 + 4 + i] = i;
		plain->bytes[i] = 0;
	}
	EXPECT_EQ(bpf_crypto_decrypt(ctx, &to, &from, &iv), 0);
	for (int i = 0; i < BLOCK; i++) {
		EXPECT_EQ(plain->bytes[i], chained_plain[i]);
		plain->bytes[64 + 4 + i] = i;
	}
	EXPECT_EQ(bpf_dynptr_adjust(&iv, 0, BLOCK - 1), 0);
	EXPECT_EQ(bpf_crypto_encrypt(ctx, &from, &to, &iv), -EINVAL);
	EXPECT_EQ(bpf_crypto_decrypt(ctx, &from, &to, &iv), -EINVAL);
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

SEC("tc")
int decrypt_from_uninitialised(struct __sk_buff *skb)
{
	struct bpf_dynptr none = {};
	CRYPTO();

	bpf_crypto_decrypt(ctx, &none, &to, NULL);
	return TC_OK;
}

SEC("tc")
int decrypt_vector_uninitialised(struct __sk_buff *skb)
{
	struct bpf_dynptr none = {};
	CRYPTO();

	bpf_crypto_decrypt(ctx, &from, &to, &none);
	return TC_OK;
}

SEC("tc")
int encrypt_into_uninitialised(struct __sk_buff *skb)
{
	struct bpf_dynptr none = {};
	CRYPTO();

	bpf_crypto_encrypt(ctx, &from, &none, NULL);
	return TC_OK;
}

SEC("tc")
int encrypt_vector_uninitialised(struct __sk_buff *skb)
{
	struct bpf_dynptr none = {};
	CRYPTO();

	bpf_crypto_encrypt(ctx, &from, &to, &none);
	return TC_OK;
}

/* The map may be empty. */
SEC("tc")
int decrypt_without_context(struct __sk_buff *skb)
{
	CRYPTO();

	bpf_crypto_decrypt(value->ctx, &from, &to, NULL);
	return TC_OK;
}

SEC("socket")
int decrypt_in_socket(struct __sk_buff *skb)
{
	CRYPTO();

	bpf_crypto_decrypt(ctx, &from, &to, NULL);
	return TC_OK;
}

/* The map may be empty. */
SEC("tc")
int encrypt_without_context(struct __sk_buff *skb)
{
	CRYPTO();

	bpf_crypto_encrypt(value->ctx, &from, &to, NULL);
	return TC_OK;
}

SEC("socket")
int encrypt_in_socket(struct __sk_buff *skb)
{
	CRYPTO();

	bpf_crypto_encrypt(ctx, &from, &to, NULL);
	return TC_OK;
}

/* A vector may be left out; what is encrypted, and where to, may not. */
SEC("tc")
int encrypt_nothing(struct __sk_buff *skb)
{
	CRYPTO();

	bpf_crypto_encrypt(ctx, NULL, &to, NULL);
	return TC_OK;
}

SEC("tc")
int decrypt_nothing(struct __sk_buff *skb)
{
	CRYPTO();

	bpf_crypto_decrypt(ctx, NULL, &to, NULL);
	return TC_OK;
}
