// SPDX-License-Identifier: GPL-2.0-only
/*
 * adp_crypt DRIVER KIB: random data is encrypted by one session with an AES-CBC of the
 * kernel's that DRIVER provides, and decrypted by another. Sessions are spread over the
 * devices that there are. What a standard has as an example comes first.
 */
#define _GNU_SOURCE
#include <linux/if_alg.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kselftest.h"

/* As many bytes as a socket takes at a time. */
#define CHUNK	65536

/* NIST SP 800-38A, F.2.1, the first block. */
static const unsigned char key[16] = {
	0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6,
	0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c,
};

static const unsigned char iv[16] = {
	0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07,
	0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f,
};

static const unsigned char plain[16] = {
	0x6b, 0xc1, 0xbe, 0xe2, 0x2e, 0x40, 0x9f, 0x96,
	0xe9, 0x3d, 0x7e, 0x11, 0x73, 0x93, 0x17, 0x2a,
};

static const unsigned char cipher[16] = {
	0x76, 0x49, 0xab, 0xac, 0x81, 0x19, 0xb2, 0x46,
	0xce, 0xe9, 0x8e, 0x9b, 0x12, 0xe9, 0x19, 0x7d,
};

__attribute__((noreturn)) static void fail(const char *what)
{
	fprintf(stderr, "adp_crypt: %s: %s\n", what, strerror(errno));
	exit(KSFT_FAIL);
}

static int open_session(const char *driver)
{
	struct sockaddr_alg sa = {
		.salg_family = AF_ALG,
		.salg_type = "skcipher",
	};
	int alg = socket(AF_ALG, SOCK_SEQPACKET, 0), session;

	snprintf((char *)sa.salg_name, sizeof(sa.salg_name), "%s", driver);
	if (alg < 0 || bind(alg, (struct sockaddr *)&sa, sizeof(sa)))
		fail(driver);
	if (setsockopt(alg, SOL_ALG, ALG_SET_KEY, key, sizeof(key)))
		fail("the key");
	session = accept(alg, NULL, 0);
	if (session < 0)
		fail("accept");
	return session;
}

static void run(int session, int op, const void *from, void *to, size_t len)
{
	union {
		char buf[CMSG_SPACE(4) + CMSG_SPACE(sizeof(struct af_alg_iv) + sizeof(iv))];
		struct cmsghdr align;
	} control = {};
	struct iovec iov = { .iov_base = (void *)from, .iov_len = len };
	struct msghdr msg = {
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
		.msg_iov = &iov,
		.msg_iovlen = 1,
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	struct af_alg_iv *alg_iv;
	ssize_t done;

	cmsg->cmsg_level = SOL_ALG;
	cmsg->cmsg_type = ALG_SET_OP;
	cmsg->cmsg_len = CMSG_LEN(4);
	memcpy(CMSG_DATA(cmsg), &op, 4);

	cmsg = CMSG_NXTHDR(&msg, cmsg);
	cmsg->cmsg_level = SOL_ALG;
	cmsg->cmsg_type = ALG_SET_IV;
	cmsg->cmsg_len = CMSG_LEN(sizeof(*alg_iv) + sizeof(iv));
	alg_iv = (struct af_alg_iv *)CMSG_DATA(cmsg);
	alg_iv->ivlen = sizeof(iv);
	memcpy(alg_iv->iv, iv, sizeof(iv));

	if (sendmsg(session, &msg, 0) != (ssize_t)len)
		fail("sendmsg");
	for (size_t got = 0; got < len; got += done) {
		done = read(session, (char *)to + got, len - got);
		if (done <= 0)
			fail("read");
	}
}

static void same(const void *a, const void *b, size_t len, const char *what)
{
	if (!memcmp(a, b, len))
		return;
	fprintf(stderr, "adp_crypt: %s is wrong\n", what);
	exit(KSFT_FAIL);
}

int main(int argc, char **argv)
{
	static unsigned char data[CHUNK], secret[CHUNK], back[CHUNK];
	unsigned char block[sizeof(plain)];
	int session[2];
	long left;

	if (argc != 3) {
		fprintf(stderr, "usage: adp_crypt DRIVER KIB\n");
		return KSFT_FAIL;
	}
	left = atol(argv[2]) * 1024;
	for (int i = 0; i < 2; i++) {
		session[i] = open_session(argv[1]);
		run(session[i], ALG_OP_ENCRYPT, plain, block, sizeof(block));
		same(block, cipher, sizeof(block), "the example, encrypted,");
		run(session[i], ALG_OP_DECRYPT, cipher, block, sizeof(block));
		same(block, plain, sizeof(block), "the example, decrypted,");
	}

	for (int i = 0; left > 0; left -= CHUNK, i ^= 1) {
		for (size_t got = 0; got < sizeof(data); got += 256)
			if (getrandom(data + got, 256, 0) != 256)
				fail("getrandom");
		run(session[i], ALG_OP_ENCRYPT, data, secret, sizeof(data));
		if (!memcmp(secret, data, sizeof(data)))
			fail("encryption that changes nothing");
		run(session[i ^ 1], ALG_OP_DECRYPT, secret, back, sizeof(data));
		same(back, data, sizeof(data), "what comes back");
	}
	return KSFT_PASS;
}
