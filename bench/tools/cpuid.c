/* How long one CPUID takes: 0.1 us on a processor of one's own, up to tens of it in a virtual machine.
   gcc -O2 -o cpuid cpuid.c && ./cpuid */
#include <cpuid.h>
#include <stdio.h>
#include <time.h>
int main(void)
{
	enum { RUNS = 2000 };
	struct timespec a, b;
	unsigned w, x, y, z;
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (int i = 0; i < RUNS; i++)
		__cpuid_count(4, i & 3, w, x, y, z);
	clock_gettime(CLOCK_MONOTONIC, &b);
	printf("CPUID: %.2f us\n", ((b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec)) / RUNS / 1e3);
	return 0;
}
