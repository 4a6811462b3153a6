/* What the tests of the module source share: decoding texts and looking at what came out. */
#ifndef SOURCE_UTIL_H
#define SOURCE_UTIL_H

#include "portald/source.h"

struct decoded {
	struct source_result result;
	char *messages; /* one line each, formatted */
	size_t message_count;
};

/* Decode with the default options. */
struct decoded decode_text(const char *text);
struct decoded decode_texts(const struct source_text *texts, size_t count);
struct decoded decode_with(const char *text, const struct source_options *options);
/* The file is $srcdir/tests/unit/manifests/NAME; messages name it NAME. */
struct decoded decode_manifest(const char *name);
void decoded_fini(struct decoded *decoded);

/* The whole of $srcdir/tests/unit/manifests/NAME, to be freed. */
char *manifest_text(const char *name, size_t *count);

/* NULL if there is none of the name. */
const struct model_service *find_service(
	const struct decoded *decoded, const char *namespace, const char *name);

/* The service's endpoints for its port called port_name as "address:port+R+S+T target, ..." in the order of
 * the slices, to be freed. */
char *endpoints_text(
	const struct decoded *decoded, const struct model_service *service, const char *port_name);

#endif
