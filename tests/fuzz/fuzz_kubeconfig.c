/* Fuzzes a kubeconfig, as if all files that it names held its own bytes, and the same bytes as an exec
 * plugin's output, as PEM and as a token. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "portald/kubeconfig.h"
#include "portald/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *data;
	size_t size;
};

static int open_input(void *context, const char *path)
{
	const struct input *input = context;
	int fd = memfd_create(path[0] ? "input" : "", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (write(fd, input->data, input->size) != (ssize_t)input->size || lseek(fd, 0, SEEK_SET) < 0) {
		close(fd);
		return -EIO;
	}
	return fd;
}

static void on_diag(void *context, const struct source_diag *diag)
{
	(void)context;
	free(source_diag_format(diag));
}

static void on_file(void *context, const char *path)
{
	*(size_t *)context += strlen(path);
}

static void use(struct kubeconfig *config)
{
	size_t bytes = 0;

	if (config->exec)
		free(kubeconfig_exec_info(config));
	kubeconfig_files(config, on_file, &bytes);
	kubeconfig_free(config);
}

static void decode_credential(const char *text, size_t size)
{
	struct kubeconfig_credential credential;
	char *problem = NULL;

	if (kubeconfig_credential_decode(
		    text, size, "client.authentication.k8s.io/v1", &credential, &problem) == 0)
		kubeconfig_credential_fini(&credential);
	free(problem);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {.data = data, .size = size};
	const struct kubeconfig_opener opener = {.open = open_input, .context = &input};
	const struct kubeconfig_request request = {.kubeconfig = "dir/config"};
	char *text = mem_calloc(1, size + 1);
	struct kubeconfig *config;

	if (size > 0)
		memcpy(text, data, size);
	if (kubeconfig_load(&request, &opener, on_diag, NULL, &config) == 0)
		use(config);
	decode_credential(text, size);
	kubeconfig_pem_check(text, size, KUBECONFIG_CERTIFICATES);
	kubeconfig_pem_check(text, size, KUBECONFIG_KEY);
	kubeconfig_token_trim(text);
	free(text);
	return 0;
}
