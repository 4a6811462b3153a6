/* A histogram that one process counts in. */
#ifndef ADMIN_HISTOGRAM_H
#define ADMIN_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_MAX_BUCKETS 80

struct histogram {
	const double *bounds; /* upper ends, rising; borrowed */
	size_t bound_count;
	uint64_t counts[HISTOGRAM_MAX_BUCKETS + 1]; /* each by itself; the last is beyond all bounds */
	double sum;
};

/* bounds must outlive the histogram; at most HISTOGRAM_MAX_BUCKETS. */
void histogram_init(struct histogram *histogram, const double *bounds, size_t bound_count);
void histogram_add(struct histogram *histogram, double value);

#endif
