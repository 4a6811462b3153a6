/* Fuzzes everything from a manifest file's bytes to a snapshot. The reader is chosen by content, so most
 * inputs are read as YAML. */
#include <stdint.h>
#include <stdlib.h>

#include "portald/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_diag(void *context, const struct source_diag *diag)
{
	(void)context;
	free(source_diag_format(diag));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Cut in two files at the first 0x1e, so that objects of several files meet. */
	struct source_text texts[2] = {{.name = "a.yaml"}, {.name = "b.yaml"}};
	struct source_options options;
	struct source_result result;
	size_t cut = 0;

	while (cut < size && data[cut] != 0x1e)
		cut++;
	texts[0].bytes = (const char *)data;
	texts[0].byte_count = cut;
	texts[1].bytes = (const char *)data + (cut < size ? cut + 1 : size);
	texts[1].byte_count = cut < size ? size - cut - 1 : 0;
	source_options_init(&options);
	result = source_manifests_decode(texts, 2, &options, on_diag, NULL);
	model_snapshot_unref(result.snapshot);
	return 0;
}
