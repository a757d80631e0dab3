/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * TAP output for C tests, with the names that the kernel's selftests use.
 */
#ifndef _ADP_KSELFTEST_H
#define _ADP_KSELFTEST_H

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KSFT_PASS	0
#define KSFT_FAIL	1
#define KSFT_SKIP	4

static unsigned int ksft_plan, ksft_num, ksft_pass, ksft_fail, ksft_skip;

static inline void ksft_print_header(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n");
}

static inline void ksft_set_plan(unsigned int plan)
{
	ksft_plan = plan;
	printf("1..%u\n", plan);
}

__attribute__((format(printf, 1, 2)))
static inline void ksft_print_msg(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	printf("# ");
	vprintf(fmt, args);
	va_end(args);
}

__attribute__((format(printf, 2, 3)))
static inline void ksft_test_result(bool ok, const char *fmt, ...)
{
	va_list args;

	if (ok)
		ksft_pass++;
	else
		ksft_fail++;
	printf("%s %u ", ok ? "ok" : "not ok", ++ksft_num);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
}

static inline void ksft_print_cnts(void)
{
	printf("# Totals: pass:%u fail:%u xfail:0 xpass:0 skip:%u error:0\n",
	       ksft_pass, ksft_fail, ksft_skip);
}

__attribute__((noreturn)) static inline void ksft_finished(void)
{
	ksft_print_cnts();
	exit(ksft_pass == ksft_plan && !ksft_fail ? KSFT_PASS : KSFT_FAIL);
}

__attribute__((format(printf, 1, 2), noreturn))
static inline void ksft_exit_fail_msg(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	printf("Bail out! ");
	vprintf(fmt, args);
	va_end(args);
	ksft_print_cnts();
	exit(KSFT_FAIL);
}

__attribute__((format(printf, 1, 2), noreturn))
static inline void ksft_exit_skip(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	printf("1..0 # SKIP ");
	vprintf(fmt, args);
	va_end(args);
	exit(KSFT_SKIP);
}

#endif /* _ADP_KSELFTEST_H */
