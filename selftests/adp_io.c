// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writes patterns to a file or block device around the page cache and verifies
 * every byte: mixed sizes, buffers at odd places in memory, vectors, several
 * processes. All former contents are lost.
 *
 * adp_io [-j jobs] [-n operations] [-m MiB] [-s seed] FILE
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest.h"

#define SECTOR		512
#define MAX_IO		(1024 * 1024)
#define MAX_IOV		16
#define ARENA		(MAX_IO * 4)

struct job {
	int fd;
	unsigned int id;
	uint64_t seed;
	uint64_t first;		/* sector */
	uint64_t sectors;
	uint32_t *gen;		/* what was written last, by sector */
	uint8_t *arena;
	uint64_t rnd;
	uint64_t bytes;
};

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static uint64_t rnd(struct job *job, uint64_t limit)
{
	job->rnd++;
	return mix(job->rnd) % limit;
}

/* Each sector says whose it is, and no two generations have a word in common. */
static void sector_fill(struct job *job, void *buf, uint64_t sector)
{
	uint64_t key = mix(job->seed ^ sector << 20 ^ job->gen[sector - job->first]);
	uint64_t *word = buf;
	unsigned int i;

	word[0] = sector;
	for (i = 1; i < SECTOR / 8; i++)
		word[i] = mix(key + i);
}

static bool sector_check(struct job *job, const void *buf, uint64_t sector)
{
	uint64_t want[SECTOR / 8];
	unsigned int i;

	sector_fill(job, want, sector);
	if (!memcmp(want, buf, SECTOR))
		return true;
	for (i = 0; ((const uint64_t *)buf)[i] == want[i]; i++)
		;
	ksft_print_msg("job %u: sector %llu: word %u is 0x%llx, not 0x%llx\n",
		       job->id, (unsigned long long)sector, i,
		       (unsigned long long)((const uint64_t *)buf)[i],
		       (unsigned long long)want[i]);
	return false;
}

/*
 * Cuts @sectors into up to MAX_IOV pieces, anywhere in the arena. A quarter of
 * the slots would hold the longest request, so they are enough for what is left
 * after the last cut by chance.
 */
static int vector(struct job *job, struct iovec *iov, uint64_t sectors)
{
	uint64_t slot = ARENA / SECTOR / MAX_IOV;
	int n = 0;

	while (sectors) {
		uint64_t len = sectors;
		uint64_t off;

		if (n < MAX_IOV - MAX_IO * MAX_IOV / ARENA && rnd(job, 2))
			len = 1 + rnd(job, sectors);
		if (len > slot)
			len = slot;
		off = rnd(job, slot - len + 1);
		iov[n].iov_base = job->arena + (n * slot + off) * SECTOR;
		iov[n].iov_len = len * SECTOR;
		sectors -= len;
		n++;
	}
	return n;
}

static uint64_t vector_sectors(const struct iovec *iov, int n)
{
	uint64_t sum = 0;

	while (n--)
		sum += iov[n].iov_len / SECTOR;
	return sum;
}

static bool job_io(struct job *job, uint64_t sector, uint64_t sectors,
		   bool write)
{
	struct iovec iov[MAX_IOV];
	int i, n = vector(job, iov, sectors);
	uint64_t at = sector;
	ssize_t done, want;
	size_t off;

	want = vector_sectors(iov, n) * SECTOR;
	for (i = 0; i < n; i++) {
		for (off = 0; off < iov[i].iov_len; off += SECTOR, at++) {
			uint8_t *p = (uint8_t *)iov[i].iov_base + off;

			if (write) {
				job->gen[at - job->first]++;
				sector_fill(job, p, at);
			} else {
				memset(p, 0xee, SECTOR);
			}
		}
	}

	done = write ? pwritev(job->fd, iov, n, sector * SECTOR) :
		       preadv(job->fd, iov, n, sector * SECTOR);
	if (done != want) {
		ksft_print_msg("job %u: %s of %zd bytes at sector %llu: %zd (%s)\n",
			       job->id, write ? "write" : "read", want,
			       (unsigned long long)sector, done,
			       done < 0 ? strerror(errno) : "short");
		return false;
	}
	job->bytes += done;

	at = sector;
	for (i = 0; !write && i < n; i++)
		for (off = 0; off < iov[i].iov_len; off += SECTOR, at++)
			if (!sector_check(job, (uint8_t *)iov[i].iov_base + off,
					  at))
				return false;
	return true;
}

static bool job_all(struct job *job, bool write)
{
	uint64_t at = 0;

	while (at < job->sectors) {
		uint64_t n = MAX_IO / SECTOR;

		if (n > job->sectors - at)
			n = job->sectors - at;
		if (!job_io(job, job->first + at, n, write))
			return false;
		at += n;
	}
	return true;
}

static bool job_run(struct job *job, unsigned int ops)
{
	unsigned int i;

	if (!job_all(job, true) || !job_all(job, false))
		return false;

	for (i = 0; i < ops; i++) {
		/* Short requests are as likely as long ones. */
		uint64_t most = (MAX_IO / SECTOR) >> rnd(job, 12);
		uint64_t n = 1 + rnd(job, most ? most : 1);

		if (n > job->sectors)
			n = job->sectors;
		if (!job_io(job, job->first + rnd(job, job->sectors - n + 1), n,
			    rnd(job, 2)))
			return false;
	}
	if (fsync(job->fd)) {
		ksft_print_msg("fsync: %s\n", strerror(errno));
		return false;
	}
	return job_all(job, false);
}

static unsigned long positive(const char *text, unsigned long max)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 0);
	if (errno || end == text || *end || !value || value > max) {
		fprintf(stderr, "adp_io: %s is not a number from 1 to %lu\n",
			text, max);
		exit(KSFT_FAIL);
	}
	return value;
}

__attribute__((noreturn)) static void usage(void)
{
	fprintf(stderr,
		"usage: adp_io [-j jobs] [-n operations] [-m MiB] [-s seed] FILE\n");
	exit(KSFT_FAIL);
}

int main(int argc, char **argv)
{
	unsigned long jobs = 2, ops = 200, mib = 16, seed = 1;
	uint64_t sectors;
	unsigned int i;
	int opt, fd;

	while ((opt = getopt(argc, argv, "j:n:m:s:")) != -1) {
		switch (opt) {
		case 'j':
			jobs = positive(optarg, 64);
			break;
		case 'n':
			ops = positive(optarg, UINT_MAX);
			break;
		case 'm':
			mib = positive(optarg, 1024 * 1024);
			break;
		case 's':
			seed = positive(optarg, ULONG_MAX);
			break;
		default:
			usage();
		}
	}
	if (optind + 1 != argc)
		usage();

	ksft_print_header();
	fd = open(argv[optind], O_RDWR | O_CREAT | O_DIRECT, 0600);
	if (fd < 0)
		ksft_exit_fail_msg("%s: %s\n", argv[optind], strerror(errno));
	ksft_set_plan(jobs);
	sectors = ((uint64_t)mib << 20) / SECTOR / jobs;

	for (i = 0; i < jobs; i++) {
		struct job job = {
			.fd = fd, .id = i, .seed = seed + i,
			.first = i * sectors, .sectors = sectors,
			.rnd = mix(seed) + ((uint64_t)i << 32),
		};
		pid_t pid = fork();
		bool ok;

		if (pid < 0)
			ksft_exit_fail_msg("fork: %s\n", strerror(errno));
		if (pid)
			continue;

		job.gen = calloc(sectors, sizeof(*job.gen));
		job.arena = mmap(NULL, ARENA, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1,
				 0);
		if (!job.gen || job.arena == MAP_FAILED)
			ksft_exit_fail_msg("no memory\n");
		ok = job_run(&job, ops);
		ksft_print_msg("job %u: %llu MiB\n", i,
			       (unsigned long long)job.bytes >> 20);
		fflush(stdout);
		_exit(ok ? KSFT_PASS : KSFT_FAIL);
	}
	for (i = 0; i < jobs; i++) {
		int status;

		if (wait(&status) < 0)
			ksft_exit_fail_msg("wait: %s\n", strerror(errno));
		ksft_test_result(WIFEXITED(status) && !WEXITSTATUS(status),
				 "job of %lu operations on %llu sectors\n", ops,
				 (unsigned long long)sectors);
	}
	ksft_finished();
}
