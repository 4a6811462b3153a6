/* Turns manifest files into a snapshot: read, decode, settle claims, build. Runs in control, in
 * `portald plan` and in the fuzzers. */
#include "portald/source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "source/decode.h"
#include "source/doc.h"
#include "source/finding.h"
#include "source/set.h"

/* What a document is decoded into. */
struct reading {
	struct decoder decoder;
	struct findings *findings;
	bool incomplete;
};

void source_options_init(struct source_options *options)
{
	*options = (struct source_options){.node_port_first = 30000, .node_port_last = 32767};
	source_options_set_ranges(options, "10.96.0.0/12,fd00:10:96::/112");
}

int source_options_set_ranges(struct source_options *options, const char *text)
{
	const char *comma = strchrnul(text, ',');
	char *first = mem_printf("%.*s", (int)(comma - text), text);
	struct source_options fresh = *options;
	int rc = addr_parse_prefix(&fresh.service_cluster_ip_range, first);

	free(first);
	fresh.has_second_cluster_ip_range = *comma != '\0';
	if (rc == 0 && fresh.has_second_cluster_ip_range)
		rc = addr_parse_prefix(&fresh.second_cluster_ip_range, comma + 1);
	if (rc == 0 && fresh.has_second_cluster_ip_range &&
		addr_family(&fresh.service_cluster_ip_range.addr) ==
			addr_family(&fresh.second_cluster_ip_range.addr))
		rc = -EINVAL;
	if (rc == 0)
		*options = fresh;
	return rc;
}

char *source_diag_format(const struct source_diag *diag)
{
	static const char *const severities[] = {
		[SOURCE_ERROR] = "error",
		[SOURCE_WARNING] = "warning",
		[SOURCE_NOTE] = "note",
	};
	char *place = diag->line ? mem_printf(":%u:%u", diag->line, diag->column) : mem_strdup("");
	char *text = mem_printf("%s%s: %s: %s%s%s%s%s", diag->file, place, severities[diag->severity],
		diag->object ? diag->object : "", diag->object ? ": " : "", diag->field ? diag->field : "",
		diag->field ? ": " : "", diag->message);

	free(place);
	return text;
}

static void on_document(void *context, struct doc *doc)
{
	struct reading *reading = context;

	decode_document(&reading->decoder, doc);
	doc_free(doc);
}

static void on_problem(void *context, unsigned line, unsigned column, const char *message)
{
	struct reading *reading = context;

	reading->incomplete = true;
	reading->decoder.set->left_out++;
	findings_add(reading->findings, SOURCE_ERROR, (struct place){reading->decoder.file, line, column},
		NULL, NULL, "%s", message);
}

static void read_text(struct reading *reading, size_t file, const struct source_text *text)
{
	const struct doc_sink sink = {on_document, on_problem, reading};

	reading->decoder.file = file;
	if (text->byte_count > SOURCE_MAX_FILE_BYTES)
		on_problem(reading, 0, 0, "the file is too large");
	else
		doc_read(text->bytes, text->byte_count, &sink);
}

struct source_result source_manifests_decode(const struct source_text *texts, size_t text_count,
	const struct source_options *options, source_diag_fn *diag, void *context)
{
	struct findings findings = {.texts = texts};
	struct set set = {.findings = &findings};
	struct reading reading = {.decoder = {.set = &set, .options = options}, .findings = &findings};
	struct model_builder *builder = model_builder_new();
	struct source_result result;

	for (size_t i = 0; i < text_count; i++)
		read_text(&reading, i, &texts[i]);
	set_claim(&set, options);
	set_build(&set, options, builder);
	findings_report(&findings, diag, context);
	result = (struct source_result){
		.snapshot = model_builder_finish(builder),
		.error_count = set.left_out,
		.incomplete = reading.incomplete,
	};
	decoder_fini(&reading.decoder);
	set_fini(&set);
	findings_fini(&findings);
	return result;
}
