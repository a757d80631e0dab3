// SPDX-License-Identifier: GPL-2.0-only
/*
 * Maps memory of the DMA API into this process, through a device of adp_test:
 * what the device wrote is seen here, what is written here the device finds.
 *
 * adp_mmap DEBUGFS-DIRECTORY DEVICE-NODE
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest.h"

static const char *debugfs;

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

/* The module's adp_fill(), which nothing else shares with this program. */
static uint8_t stream(uint64_t seed, uint64_t pos)
{
	return mix(seed ^ (pos >> 3)) >> (8 * (pos & 7));
}

static bool holds(const uint8_t *mem, size_t len, uint64_t seed,
		  uint64_t pos)
{
	size_t i;

	for (i = 0; i < len; i++) {
		if (mem[i] == stream(seed, pos + i))
			continue;
		ksft_print_msg("byte %zu is 0x%02x, not 0x%02x\n", i, mem[i],
			       stream(seed, pos + i));
		return false;
	}
	return true;
}

/* Runs a case of the module. */
__attribute__((format(printf, 1, 2)))
static bool start(const char *fmt, ...)
{
	char path[PATH_MAX], text[8192], *last;
	va_list args;
	ssize_t n;
	int fd;

	va_start(args, fmt);
	n = vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	snprintf(path, sizeof(path), "%s/run", debugfs);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		ksft_exit_fail_msg("%s: %s\n", path, strerror(errno));
	if (write(fd, text, n) != n)
		ksft_exit_fail_msg("%s: %s: %s\n", path, text, strerror(errno));
	close(fd);

	snprintf(path, sizeof(path), "%s/result", debugfs);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		ksft_exit_fail_msg("%s: %s\n", path, strerror(errno));
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		ksft_exit_fail_msg("%s is empty\n", path);
	text[n] = '\0';
	last = memrchr(text, '\n', n - 1);
	if (!strncmp(last ? last + 1 : text, "ok ", 3))
		return true;
	printf("%s", text);
	return false;
}

static bool try(int fd, const char *kind, size_t size)
{
	size_t page = sysconf(_SC_PAGESIZE);
	uint8_t *mem, *part;
	bool ok = true;
	size_t i;

	if (!start("buf_new kind=%s size=%zu", kind, size) ||
	    !start("buf_fill seed=%zu", size))
		return false;

	mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED) {
		ksft_print_msg("mmap: %s\n", strerror(errno));
		return false;
	}
	if (!holds(mem, size, size, 0))
		ok = false;
	for (i = 0; i < size; i++)
		mem[i] = stream(size + 1, i);
	ok = start("buf_check seed=%zu", size + 1) && ok;
	ok = start("buf_fill seed=%zu", size + 2) && holds(mem, size, size + 2, 0) &&
	     ok;

	/* A part of it is the right part. */
	part = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, size - page);
	if (part == MAP_FAILED) {
		ksft_print_msg("mmap of the end: %s\n", strerror(errno));
		ok = false;
	} else {
		ok = holds(part, page, size + 2, size - page) && ok;
		munmap(part, page);
	}

	/* What is beyond the end is somebody else's. */
	part = mmap(NULL, 2 * page, PROT_READ, MAP_SHARED, fd, size - page);
	if (part != MAP_FAILED) {
		ksft_print_msg("mmap works beyond the end\n");
		ok = false;
		munmap(part, 2 * page);
	}
	munmap(mem, size);
	return start("buf_free") && ok;
}

int main(int argc, char **argv)
{
	static const char * const kinds[] = {
		"coherent", "wc", "pages", "noncontig",
	};
	size_t page = sysconf(_SC_PAGESIZE);
	const size_t sizes[] = { page, 3 * page, 1 << 18 };
	unsigned int i, j;
	int fd;

	if (argc != 3) {
		fprintf(stderr, "usage: adp_mmap DEBUGFS-DIRECTORY DEVICE-NODE\n");
		return KSFT_FAIL;
	}
	debugfs = argv[1];
	ksft_print_header();
	fd = open(argv[2], O_RDWR);
	if (fd < 0)
		ksft_exit_fail_msg("%s: %s\n", argv[2], strerror(errno));
	ksft_set_plan(sizeof(kinds) / sizeof(*kinds) *
		      sizeof(sizes) / sizeof(*sizes));
	for (i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		for (j = 0; j < sizeof(sizes) / sizeof(*sizes); j++)
			ksft_test_result(try(fd, kinds[i], sizes[j]),
					 "mmap of %zu bytes, %s\n", sizes[j],
					 kinds[i]);
	ksft_finished();
}
