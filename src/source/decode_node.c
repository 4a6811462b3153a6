/* Decodes the part of a Node that the choice of endpoints asks for. Runs in control, in `portald plan` and in
 * the fuzzers. */
#include "portald/mem.h"
#include "source/decode.h"

#define LABEL_ZONE "topology.kubernetes.io/zone"
/* Before Kubernetes 1.17. */
#define LABEL_ZONE_BETA "failure-domain.beta.kubernetes.io/zone"

void decode_node(struct decoder *decoder, struct scope *scope, const struct doc_node *node)
{
	const char *zone = decode_label(node, LABEL_ZONE);
	struct set_node *object;

	if (scope->error_count > 0)
		return;
	object = mem_calloc(1, sizeof(*object));
	object->object.place = scope_place(scope, node);
	object->object.title = mem_strdup(scope->object);
	object->model = model_node_new(decode_name(node), zone ? zone : decode_label(node, LABEL_ZONE_BETA));
	set_take_node(decoder->set, object);
}
