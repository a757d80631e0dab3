// SPDX-License-Identifier: GPL-2.0-only
/*
 * Plays a file of 16-bit stereo samples, or tells whether it was heard.
 *
 * adp_dsp play RATE FILE DEVICE
 * adp_dsp heard BYTES FILE RECORD: so many bytes of FILE, one after the other, are
 * in RECORD. A guest that has to wait for its host drops some.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/ioctl.h>
#include <linux/soundcard.h>
#include <unistd.h>

#include "kselftest.h"

#define PROBE	64
#define STEP	1024

struct blob {
	char *data;
	size_t len;
};

__attribute__((noreturn)) static void fail(const char *what)
{
	fprintf(stderr, "adp_dsp: %s: %s\n", what, strerror(errno));
	exit(KSFT_FAIL);
}

static struct blob load(const char *name)
{
	struct blob blob = {};
	int fd = open(name, O_RDONLY);
	ssize_t got;

	if (fd < 0)
		fail(name);
	do {
		blob.data = realloc(blob.data, blob.len + 65536);
		if (!blob.data)
			fail("memory");
		got = read(fd, blob.data + blob.len, 65536);
		if (got < 0)
			fail(name);
		blob.len += got;
	} while (got);
	close(fd);
	return blob;
}

static void set(int fd, unsigned long request, int wanted, const char *what)
{
	int value = wanted;

	if (!ioctl(fd, request, &value) && value == wanted)
		return;
	fprintf(stderr, "adp_dsp: no %s of %d, but %d\n", what, wanted, value);
	exit(KSFT_FAIL);
}

static int play(int rate, struct blob tune, const char *device)
{
	int fd = open(device, O_WRONLY);
	size_t done = 0;

	if (fd < 0)
		fail(device);
	set(fd, SNDCTL_DSP_SETFMT, AFMT_S16_LE, "format");
	set(fd, SNDCTL_DSP_CHANNELS, 2, "number of channels");
	set(fd, SNDCTL_DSP_SPEED, rate, "rate");
	while (done < tune.len) {
		ssize_t put = write(fd, tune.data + done, tune.len - done);

		if (put < 0)
			fail(device);
		done += put;
	}
	if (ioctl(fd, SNDCTL_DSP_SYNC, 0))
		fail(device);
	return KSFT_PASS;
}

static int was_heard(size_t bytes, struct blob tune, struct blob record)
{
	size_t at, most = 0;

	for (at = 0; at + PROBE <= tune.len; at += STEP) {
		char *end = record.data + record.len;
		char *p = memmem(record.data, record.len, tune.data + at, PROBE);
		size_t n = 0;

		while (p && at + n < tune.len && p + n < end &&
		       p[n] == tune.data[at + n])
			n++;
		if (n > most)
			most = n;
		if (n >= bytes)
			return KSFT_PASS;
	}
	fprintf(stderr, "adp_dsp: %zu bytes were heard\n", most);
	return KSFT_FAIL;
}

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "play"))
		return play(atoi(argv[2]), load(argv[3]), argv[4]);
	if (argc == 5 && !strcmp(argv[1], "heard"))
		return was_heard(atoi(argv[2]), load(argv[3]), load(argv[4]));
	fprintf(stderr, "usage: adp_dsp play RATE FILE DEVICE, or heard BYTES FILE RECORD\n");
	return KSFT_FAIL;
}
