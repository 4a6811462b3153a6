/* Sources: where the model comes from. In this module: manifest files (YAML and JSON).
 *
 * Decoding is pure: bytes in, snapshot and diagnostics out. Who opens the files (the command line tool
 * itself, or the starter on behalf of unprivileged control) is the caller's affair. Runs in control, in
 * `portald plan` and in the fuzzers.
 */
#ifndef PORTALD_SOURCE_H
#define PORTALD_SOURCE_H

#include <stdbool.h>
#include <stddef.h>

#include "portald/addr.h"
#include "portald/model.h"

/* The largest manifest file that is read. */
#define SOURCE_MAX_FILE_BYTES ((size_t)64 * 1024 * 1024)

/* One manifest file's content. */
struct source_text {
	const char *name; /* as it shall appear in messages */
	const char *bytes;
	size_t byte_count;
};

enum source_severity { SOURCE_ERROR, SOURCE_WARNING, SOURCE_NOTE };

/* One finding about the input. An error means that the object (or the file) it names was left out. */
struct source_diag {
	enum source_severity severity;
	const char *file;
	unsigned line;      /* from 1; 0 if the finding has no place */
	unsigned column;    /* from 1 */
	const char *object; /* "Service default/web", or NULL */
	const char *field;  /* "spec.ports[0].nodePort", or NULL */
	const char *message;
};

/* Receives findings in the order of the input. The diag is valid during the call only. */
typedef void source_diag_fn(void *context, const struct source_diag *diag);

/* Writes "file:line:column: error: Service default/web: spec.ports[0].nodePort: message" into a fresh
 * string, leaving out the parts that are missing. The caller frees it. */
char *source_diag_format(const struct source_diag *diag);

struct source_options {
	struct addr_prefix service_cluster_ip_range; /* for Services without a clusterIP */
	/* Of the other family, for dual-stack Services and those of that family alone. */
	struct addr_prefix second_cluster_ip_range;
	bool has_second_cluster_ip_range;
	uint16_t node_port_first, node_port_last; /* for NodePort Services without a nodePort */
};

/* The defaults: 10.96.0.0/12 and fd00:10:96::/112, 30000-32767. */
void source_options_init(struct source_options *options);

/* Sets the ranges from "CIDR" (then there is no second one) or "CIDR,CIDR" of both families, the primary one
 * first. Returns 0, or -EINVAL and leaves options alone. */
int source_options_set_ranges(struct source_options *options, const char *text);

struct source_result {
	struct model_snapshot *snapshot; /* one reference for the caller; never NULL */
	size_t error_count;              /* objects or files left out */
	/* A file could not be read as a whole (syntax): what it held is unknown, so a reload must keep
	 * the last good state instead of taking its objects for deleted. */
	bool incomplete;
};

/* Decodes all texts as one set of manifests, validates it, derives endpoints from Pods, allocates
 * missing clusterIPs and nodePorts (the same for the same input, and a Service keeps its own when
 * others come and go, as far as no explicit one claims it), and reports every finding through diag.
 * Never fails as a whole: what is bad is left out and reported. */
struct source_result source_manifests_decode(const struct source_text *texts, size_t text_count,
	const struct source_options *options, source_diag_fn *diag, void *context);

#endif
