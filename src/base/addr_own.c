/* Owns the listing of the machine's addresses. Runs in the supervisor and in `portald plan --rules`. */
#include <errno.h>
#include <ifaddrs.h>
#include <stdlib.h>

#include "portald/addr.h"
#include "portald/mem.h"

static int addrs_cmp(const void *a, const void *b)
{
	return addr_cmp(a, b);
}

int addr_list_own(struct addr **list, size_t *count)
{
	struct ifaddrs *all;
	size_t capacity = 0;

	*list = NULL;
	*count = 0;
	if (getifaddrs(&all) < 0)
		return -errno;
	for (const struct ifaddrs *one = all; one; one = one->ifa_next) {
		struct addr_port at;

		if (!one->ifa_addr || addr_from_sockaddr(&at, one->ifa_addr) < 0)
			continue;
		*list = mem_grow(*list, *count, &capacity, sizeof(**list));
		(*list)[(*count)++] = at.addr;
	}
	freeifaddrs(all);
	if (*count > 0)
		qsort(*list, *count, sizeof(**list), addrs_cmp);
	return 0;
}
