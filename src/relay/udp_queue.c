/* Owns the order in which flows expire or are given up. Runs in every relay.
 *
 * Flows of one timeout expire in the order in which they were last active: a queue for each timeout needs no
 * sorting, and there are only as many timeouts as Services name. A flow that nobody has answered is in
 * another queue than one that is answered, for its timeout is another, and so is its worth.
 */
#include <stdlib.h>

#include "relay/udp.h"

struct udp_queue *udp_queue_get(struct udp *udp, enum udp_standing standing, uint32_t timeout_ms)
{
	struct udp_queue *queue = udp->queues;

	while (queue && (queue->standing != standing || queue->timeout_ms != timeout_ms))
		queue = queue->next;
	if (!queue) {
		queue = calloc(1, sizeof(*queue));
		if (!queue)
			return NULL;
		queue->standing = standing;
		queue->timeout_ms = timeout_ms;
		TAILQ_INIT(&queue->flows);
		queue->next = udp->queues;
		udp->queues = queue;
	}
	queue->refs++;
	return queue;
}

/* Frees a queue that no listener uses and that the last flow has left. */
static void drop_unused(struct udp *udp, struct udp_queue *queue)
{
	struct udp_queue **link = &udp->queues;

	if (queue->refs > 0 || !TAILQ_EMPTY(&queue->flows))
		return;
	while (*link != queue)
		link = &(*link)->next;
	*link = queue->next;
	free(queue);
}

void udp_queue_put(struct udp *udp, struct udp_queue *queue)
{
	if (!queue)
		return;
	queue->refs--;
	drop_unused(udp, queue);
}

void udp_queue_touch(struct udp *udp, struct udp_flow *flow, int64_t now_ms)
{
	struct udp_queue *queue = flow->listener->udp->queues[flow->standing], *old = flow->queue;

	/* Among those of the same millisecond the order is of no interest. */
	if (flow->active_ms == now_ms && old == queue)
		return;
	flow->active_ms = now_ms;
	if (old)
		TAILQ_REMOVE(&old->flows, flow, by_age);
	TAILQ_INSERT_TAIL(&queue->flows, flow, by_age);
	flow->queue = queue;
	if (old && old != queue)
		drop_unused(udp, old);
}

void udp_queue_remove(struct udp *udp, struct udp_flow *flow)
{
	struct udp_queue *queue = flow->queue;

	if (!queue)
		return;
	flow->queue = NULL;
	TAILQ_REMOVE(&queue->flows, flow, by_age);
	drop_unused(udp, queue);
}

/* True if a is to be given up before b. */
static bool worth_less(const struct udp_flow *a, const struct udp_flow *b)
{
	if (a->queue->standing != b->queue->standing)
		return a->queue->standing < b->queue->standing;
	return a->active_ms < b->active_ms;
}

struct udp_flow *udp_queue_idlest(const struct udp *udp)
{
	struct udp_flow *idlest = NULL;

	for (struct udp_queue *queue = udp->queues; queue; queue = queue->next) {
		struct udp_flow *first = TAILQ_FIRST(&queue->flows);

		if (first && (!idlest || worth_less(first, idlest)))
			idlest = first;
	}
	return idlest;
}

static int64_t expires_ms(const struct udp_queue *queue, const struct udp_flow *flow)
{
	return flow->active_ms + queue->timeout_ms;
}

struct udp_flow *udp_queue_expired(const struct udp *udp, int64_t now_ms)
{
	for (struct udp_queue *queue = udp->queues; queue; queue = queue->next) {
		struct udp_flow *first = TAILQ_FIRST(&queue->flows);

		if (first && expires_ms(queue, first) <= now_ms)
			return first;
	}
	return NULL;
}

int64_t udp_queue_next_ms(const struct udp *udp)
{
	int64_t next_ms = INT64_MAX;

	for (struct udp_queue *queue = udp->queues; queue; queue = queue->next) {
		struct udp_flow *first = TAILQ_FIRST(&queue->flows);

		if (first && expires_ms(queue, first) < next_ms)
			next_ms = expires_ms(queue, first);
	}
	return next_ms;
}
