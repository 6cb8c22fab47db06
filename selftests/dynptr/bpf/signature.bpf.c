// SPDX-License-Identifier: GPL-2.0-only
/* Signatures of messages. src/trigger/signature.rs fills the map, and puts the certificate into a keyring. */
#include "harness.h"

#include <bpf/bpf_tracing.h>

extern struct bpf_key *bpf_lookup_user_key(__s32 serial, __u64 flags) __ksym __weak;
extern struct bpf_key *bpf_lookup_system_key(__u64 id) __ksym __weak;
extern void bpf_key_put(struct bpf_key *key) __ksym __weak;
extern int bpf_verify_pkcs7_signature(struct bpf_dynptr *data, struct bpf_dynptr *signature,
				      struct bpf_key *keyring) __ksym __weak;

/* The kernel's own numbers: the same on all architectures of ours. */
#define EBADMSG 74
#define ENOKEY 126
#define EKEYREJECTED 129

/* The message and its signature as dynptrs; `value` is both, in the map. */
#define SIGNED_MESSAGE()                                                                          \
	struct bpf_dynptr message, signature;                                                     \
	struct signed_message *value;                                                             \
	__u32 zero = 0, length;                                                                   \
	struct bpf_key *keyring;                                                                  \
	if (!called_by_harness())                                                                 \
		return 0;                                                                         \
	value = bpf_map_lookup_elem(&signed_messages, &zero);                                             \
	if (!value)                                                                               \
		return 0;                                                                         \
	length = value->message_length;                                                           \
	if (!length || length > MESSAGE_BYTES)                                                    \
		return 0;                                                                         \
	EXPECT_EQ(bpf_dynptr_from_mem(value->message, length, 0, &message), 0);                   \
	length = value->signature_length;                                                         \
	if (!length || length > SIGNATURE_BYTES)                                                  \
		return 0;                                                                         \
	EXPECT_EQ(bpf_dynptr_from_mem(value->signature, length, 0, &signature), 0)

SEC("lsm.s/bpf")
int BPF_PROG(pkcs7_sig_from_map, int command)
{
	SIGNED_MESSAGE();

	keyring = bpf_lookup_user_key(config.key, 0);
	if (!EXPECT_TRUE(keyring))
		return 0;
	if (!keyring)
		return 0;
	EXPECT_EQ(bpf_verify_pkcs7_signature(&message, &signature, keyring), 0);
	/* Another message. */
	value->message[0] ^= 1;
	EXPECT_EQ(bpf_verify_pkcs7_signature(&message, &signature, keyring), -EKEYREJECTED);
	value->message[0] ^= 1;
	EXPECT_EQ(bpf_verify_pkcs7_signature(&message, &signature, keyring), 0);
	/* No signature at all. */
	value->signature[0] = 0;
	EXPECT_EQ(bpf_verify_pkcs7_signature(&message, &signature, keyring), -EBADMSG);
	bpf_key_put(keyring);
	return done();
}

/* The certificate is not among those that the kernel was built with. */
SEC("lsm.s/bpf")
int BPF_PROG(pkcs7_sig_other_keyring, int command)
{
	SIGNED_MESSAGE();

	keyring = bpf_lookup_system_key(0);
	if (!EXPECT_TRUE(keyring))
		return 0;
	if (!keyring)
		return 0;
	EXPECT_EQ(bpf_verify_pkcs7_signature(&message, &signature, keyring), -ENOKEY);
	bpf_key_put(keyring);
	return done();
}

/* Parts of the message and of the signature are neither. */
SEC("lsm.s/bpf")
int BPF_PROG(pkcs7_sig_adjusted, int command)
{
	SIGNED_MESSAGE();

	keyring = bpf_lookup_user_key(config.key, 0);
	if (!EXPECT_TRUE(keyring))
		return 0;
	if (!keyring)
		return 0;
	EXPECT_EQ(bpf_dynptr_adjust(&message, 0, 4), 0);
	EXPECT_EQ(bpf_verify_pkcs7_signature(&message, &signature, keyring), -EKEYREJECTED);
	EXPECT_EQ(bpf_dynptr_adjust(&signature, 1, 100), 0);
	EXPECT_EQ(bpf_verify_pkcs7_signature(&message, &signature, keyring), -EBADMSG);
	bpf_key_put(keyring);
	return done();
}

/* A dynptr without memory; what is said about it changed. */
SEC("lsm.s/bpf")
int BPF_PROG(dynptr_data_null, int command)
{
	struct bpf_dynptr null;
	SIGNED_MESSAGE();

	EXPECT_EQ(bpf_dynptr_from_mem(value->message, MESSAGE_BYTES, 1, &null), -EINVAL);
	keyring = bpf_lookup_user_key(config.key, 0);
	if (!EXPECT_TRUE(keyring))
		return 0;
	if (!keyring)
		return 0;
	EXPECT_EQ(bpf_verify_pkcs7_signature(&null, &null, keyring), config.in_release_window ? -EINVAL : -EBADMSG);
	bpf_key_put(keyring);
	return done();
}

/* --- refused ------------------------------------------------------------------------------------------------------ */

SEC("lsm.s/bpf")
int BPF_PROG(not_valid_dynptr, int command)
{
	struct {
		__u64 before;
		struct bpf_dynptr ptr;
	} frame = {};
	SIGNED_MESSAGE();

	keyring = bpf_lookup_system_key(0);
	if (!keyring)
		return 0;
	bpf_dynptr_from_mem(value->message, MESSAGE_BYTES, 0, &frame.ptr);
	bpf_verify_pkcs7_signature((void *)&frame.ptr + 8, &signature, keyring);
	bpf_key_put(keyring);
	return 0;
}

SEC("lsm.s/bpf")
int BPF_PROG(not_ptr_to_stack, int command)
{
	SIGNED_MESSAGE();

	keyring = bpf_lookup_system_key(0);
	if (!keyring)
		return 0;
	bpf_verify_pkcs7_signature((void *)value, &signature, keyring);
	bpf_key_put(keyring);
	return 0;
}

SEC("lsm.s/bpf")
int BPF_PROG(pkcs7_sig_uninitialised, int command)
{
	struct bpf_dynptr none;
	SIGNED_MESSAGE();

	keyring = bpf_lookup_system_key(0);
	if (!keyring)
		return 0;
	bpf_verify_pkcs7_signature(&none, &signature, keyring);
	bpf_key_put(keyring);
	return 0;
}

/* The signature is the second dynptr. */
SEC("lsm.s/bpf")
int BPF_PROG(pkcs7_sig_signature_uninitialised, int command)
{
	struct bpf_dynptr none;
	SIGNED_MESSAGE();

	keyring = bpf_lookup_system_key(0);
	if (!keyring)
		return 0;
	bpf_verify_pkcs7_signature(&message, &none, keyring);
	bpf_key_put(keyring);
	return 0;
}

SEC("lsm.s/bpf")
int BPF_PROG(pkcs7_sig_signature_not_on_stack, int command)
{
	SIGNED_MESSAGE();

	keyring = bpf_lookup_system_key(0);
	if (!keyring)
		return 0;
	bpf_verify_pkcs7_signature(&message, (void *)value, keyring);
	bpf_key_put(keyring);
	return 0;
}

/* There may be no such key: whoever does not ask has none. */
SEC("lsm.s/bpf")
int BPF_PROG(pkcs7_sig_keyring_maybe_null, int command)
{
	SIGNED_MESSAGE();

	keyring = bpf_lookup_system_key(0);
	bpf_verify_pkcs7_signature(&message, &signature, keyring);
	if (keyring)
		bpf_key_put(keyring);
	return 0;
}

/* A key that has been given back is none any more. */
SEC("lsm.s/bpf")
int BPF_PROG(pkcs7_sig_keyring_given_back, int command)
{
	SIGNED_MESSAGE();

	keyring = bpf_lookup_system_key(0);
	if (!keyring)
		return 0;
	bpf_key_put(keyring);
	bpf_verify_pkcs7_signature(&message, &signature, keyring);
	return 0;
}

/* To look at certificates may take a while. */
SEC("lsm/bpf")
int BPF_PROG(pkcs7_sig_not_sleepable, int command)
{
	SIGNED_MESSAGE();

	keyring = bpf_lookup_system_key(0);
	if (!keyring)
		return 0;
	bpf_verify_pkcs7_signature(&message, &signature, keyring);
	bpf_key_put(keyring);
	return 0;
}

/* Since 6.18 programs of this type may call it, if only they may wait. */
SEC("tc")
int pkcs7_sig_in_tc(struct __sk_buff *skb)
{
	struct value *mem = value_of(0);
	struct bpf_dynptr ptr;

	if (!mem)
		return TC_OK;
	bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &ptr);
	bpf_verify_pkcs7_signature(&ptr, &ptr, (void *)skb);
	return TC_OK;
}
