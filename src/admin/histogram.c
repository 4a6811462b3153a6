/* Owns the histograms of control's own process. */
#include "admin/histogram.h"

void histogram_init(struct histogram *histogram, const double *bounds, size_t bound_count)
{
	*histogram = (struct histogram){.bounds = bounds, .bound_count = bound_count};
}

void histogram_add(struct histogram *histogram, double value)
{
	size_t i = 0;

	while (i < histogram->bound_count && value > histogram->bounds[i])
		i++;
	histogram->counts[i]++;
	histogram->sum += value;
}
