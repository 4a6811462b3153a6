/* Fuzzes lists and watches: whatever a server answers, in whatever pieces, the watches keep asking, and the
 * store keeps its order.
 *
 * The input's first byte says which resource, the second seeds the sizes of pieces; the rest are answers,
 * each a line "STATUS\n" and a body up to a NUL.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "portald/watch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz {
	struct watch_store *store;
	struct watch *watch;
	int64_t now_ms;
	uint32_t random;
};

static void require(int condition)
{
	if (!condition)
		abort();
}

static uint32_t next_random(void *context)
{
	uint32_t *random = context;

	*random = *random * 1664525 + 1013904223;
	return *random;
}

static void check_store(struct fuzz *fuzz)
{
	struct model_snapshot *snapshot = watch_store_snapshot(fuzz->store);

	for (size_t i = 0; i < snapshot->service_count; i++) {
		const struct model_service *service = snapshot->services[i];

		require(watch_store_service(fuzz->store, service->namespace, service->name) == service);
	}
	for (size_t i = 0; i < snapshot->slice_count; i++) {
		const struct model_slice *slice = snapshot->slices[i];
		struct model_slice *const *first;

		require(watch_store_slices(fuzz->store, slice->namespace, slice->service_name, &first) > 0);
	}
	model_snapshot_unref(snapshot);
}

/* Each piece in memory of its own, so that a sanitizer sees a read past its end. */
static int feed(struct fuzz *fuzz, const uint8_t *body, size_t count)
{
	int rc = 0;

	while (count > 0 && rc == 0) {
		size_t piece = 1 + next_random(&fuzz->random) % 64;
		char *copy;

		if (piece > count)
			piece = count;
		copy = malloc(piece);
		require(copy != NULL);
		memcpy(copy, body, piece);
		rc = watch_body(fuzz->watch, fuzz->now_ms, copy, piece);
		free(copy);
		body += piece;
		count -= piece;
	}
	return rc;
}

static int read_status(const uint8_t **at, const uint8_t *end)
{
	int status = 0;

	while (*at < end && **at >= '0' && **at <= '9' && status < 1000)
		status = status * 10 + *(*at)++ - '0';
	if (*at < end && **at == '\n')
		(*at)++;
	return status;
}

static void run_answer(struct fuzz *fuzz, const uint8_t *at, const uint8_t *end)
{
	struct watch_request request;
	int status;

	require(watch_due_ms(fuzz->watch) != INT64_MAX);
	if (watch_due_ms(fuzz->watch) > fuzz->now_ms)
		fuzz->now_ms = watch_due_ms(fuzz->watch);
	require(watch_next(fuzz->watch, fuzz->now_ms, &request));
	require(*request.target == '/' && request.deadline_ms > fuzz->now_ms);
	status = read_status(&at, end);
	if (status)
		watch_response(fuzz->watch, fuzz->now_ms, status, next_random(&fuzz->random) % 4 ? -1 : 1);
	fuzz->now_ms += next_random(&fuzz->random) % 2000;
	if (feed(fuzz, at, (size_t)(end - at)) == 0)
		watch_ended(fuzz->watch, fuzz->now_ms, next_random(&fuzz->random) % 4 ? 0 : -1, NULL);
	require(watch_due_ms(fuzz->watch) >= fuzz->now_ms);
	check_store(fuzz);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = data + size;
	struct fuzz fuzz = {0};
	struct watch_config config = {.random = next_random, .context = &fuzz.random, .node_name = "node-1"};

	if (size < 2)
		return 0;
	config.resource = (enum watch_resource)(data[0] % WATCH_RESOURCES);
	fuzz.random = data[1];
	data += 2;
	fuzz.store = watch_store_new();
	fuzz.watch = watch_new(&config, fuzz.store);
	watch_start(fuzz.watch, 0);
	while (data < end) {
		const uint8_t *nul = memchr(data, '\0', (size_t)(end - data));
		const uint8_t *stop = nul ? nul : end;

		run_answer(&fuzz, data, stop);
		data = nul ? nul + 1 : end;
	}
	watch_free(fuzz.watch);
	watch_store_free(fuzz.store);
	return 0;
}
