/* Owns what control itself counts: changes, syncs, requests. Runs in control. */
#include <stdlib.h>
#include <string.h>

#include "admin/admin_private.h"
#include "portald/mem.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* kube-proxy's buckets, in seconds: doubling from a millisecond. */
static const double sync_bounds[] = {0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512,
	1.024, 2.048, 4.096, 8.192, 16.384};

/* Likewise: each second up to one minute, then coarser. */
static const double programming_bounds[] = {0.25, 0.5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
	17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41,
	42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 65, 70, 75, 80, 85, 90,
	95, 100, 105, 110, 115, 120, 150, 180, 210, 240, 270, 300};
_Static_assert(COUNT(programming_bounds) <= HISTOGRAM_MAX_BUCKETS, "the buckets fit");

void counts_init(struct counts *counts)
{
	histogram_init(&counts->sync, sync_bounds, COUNT(sync_bounds));
	histogram_init(&counts->programming, programming_bounds, COUNT(programming_bounds));
}

void counts_fini(struct counts *counts)
{
	while (counts->requests) {
		struct request_count *request = counts->requests;

		counts->requests = request->next;
		free(request->method);
		free(request->host);
		free(request);
	}
}

void admin_count_changes(struct admin *admin, size_t services, size_t slices)
{
	struct counts *counts = &admin->counts;

	counts->service_changes += services;
	counts->slice_changes += slices;
	counts->services_pending += services;
	counts->slices_pending += slices;
}

void counts_queued(struct admin *admin)
{
	struct counts *counts = &admin->counts;

	counts->queued_wall_us = admin->options.wall_us();
	if (counts->queued_ms == 0)
		counts->queued_ms = admin->options.now_ms();
}

void counts_done(struct admin *admin, int error)
{
	struct counts *counts = &admin->counts;

	if (error < 0) {
		counts->restore_failures++;
		return;
	}
	if (counts->queued_ms)
		histogram_add(&counts->sync, (double)(admin->options.now_ms() - counts->queued_ms) / 1000);
	counts->queued_ms = 0;
	counts->synced_wall_us = admin->options.wall_us();
	counts_settled(admin);
}

void counts_settled(struct admin *admin)
{
	admin->counts.services_pending = admin->counts.slices_pending = 0;
	triggers_done(admin);
}

void admin_count_request(struct admin *admin, unsigned status, const char *method, const char *host)
{
	struct request_count *request = admin->counts.requests;

	while (request && (request->status != status || strcmp(request->method, method) != 0 ||
				  strcmp(request->host, host) != 0))
		request = request->next;
	if (!request) {
		request = mem_calloc(1, sizeof(*request));
		*request = (struct request_count){
			.next = admin->counts.requests,
			.status = status,
			.method = mem_strdup(method),
			.host = mem_strdup(host),
		};
		admin->counts.requests = request;
	}
	request->count++;
}
