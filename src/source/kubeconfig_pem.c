/* Owns base64 and a look at PEM that finds what a person gets wrong: the wrong file, half a file, a file
 * encoded twice. Whether a certificate is one is for TLS to say. Runs in control, in tools and in a fuzzer.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "source/kubeconfig.h"

/* ---- base64 (RFC 4648) ---- */

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

char *kc_base64_decode(const char *text, size_t length, size_t *count)
{
	char *bytes = mem_calloc(1, length / 4 * 3 + 4);
	size_t digits = 0, padding = 0, at = 0;
	uint32_t group = 0;
	bool good = true;

	for (size_t i = 0; i < length && good; i++) {
		int value = base64_value(text[i]);

		if (is_space(text[i]))
			continue;
		padding += text[i] == '=';
		good = text[i] == '=' ? padding <= 2 : value >= 0 && padding == 0;
		group = group << 6 | (value > 0 ? (uint32_t)value : 0);
		if (good && ++digits % 4 == 0) {
			bytes[at++] = (char)(group >> 16);
			bytes[at++] = (char)(group >> 8);
			bytes[at++] = (char)group;
		}
	}
	if (!good || digits % 4 != 0) {
		free(bytes);
		return NULL;
	}
	*count = at - padding;
	bytes[*count] = '\0';
	return bytes;
}

char *kc_base64_encode(const char *bytes, size_t count)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *text = mem_calloc(1, (count + 2) / 3 * 4 + 1), *at = text;

	for (size_t i = 0; i < count; i += 3) {
		uint32_t group = (uint32_t)(unsigned char)bytes[i] << 16;

		if (i + 1 < count)
			group |= (uint32_t)(unsigned char)bytes[i + 1] << 8;
		if (i + 2 < count)
			group |= (unsigned char)bytes[i + 2];
		*at++ = digits[group >> 18 & 63];
		*at++ = digits[group >> 12 & 63];
		*at++ = i + 1 < count ? digits[group >> 6 & 63] : '=';
		*at++ = i + 2 < count ? digits[group & 63] : '=';
	}
	return text;
}

/* ---- PEM (RFC 7468) ---- */

#define BEGIN "-----BEGIN "
#define END "-----END "
#define DASHES "-----"

struct pem_block {
	const char *label;
	size_t label_length;
	const char *body;
	size_t body_length;
};

/* The next block from *at on, which is moved behind it. Returns 1, 0 at the end, -1 if its end is missing. */
static int pem_next(const char **at, struct pem_block *block)
{
	const char *begin = strstr(*at, BEGIN), *dashes, *end;

	if (!begin)
		return 0;
	block->label = begin + strlen(BEGIN);
	dashes = strstr(block->label, DASHES);
	if (!dashes)
		return -1;
	block->label_length = (size_t)(dashes - block->label);
	block->body = dashes + strlen(DASHES);
	end = strstr(block->body, END);
	if (!end || strncmp(end + strlen(END), block->label, block->label_length + strlen(DASHES)) != 0)
		return -1;
	block->body_length = (size_t)(end - block->body);
	*at = end + strlen(END);
	return 1;
}

static bool ends_with(const struct pem_block *block, const char *what)
{
	size_t length = strlen(what);

	return block->label_length >= length &&
	       memcmp(block->label + block->label_length - length, what, length) == 0;
}

static bool is_encrypted(const struct pem_block *block)
{
	return memmem(block->label, block->label_length, "ENCRYPTED", 9) ||
	       memmem(block->body, block->body_length, "Proc-Type: 4,ENCRYPTED", 22);
}

/* The DER within: a SEQUENCE of exactly the length that it says. */
static const char *der_check(const struct pem_block *block)
{
	size_t count = 0, header = 2, said;
	unsigned char *der = (unsigned char *)kc_base64_decode(block->body, block->body_length, &count);
	bool good;

	if (!der)
		return "a PEM block is not base64";
	said = count >= 2 ? der[1] : 0;
	if (said >= 0x80) {
		header += said & 0x7f;
		said = 0;
		for (size_t i = 2; i < header && i < count && header <= 6; i++)
			said = said << 8 | der[i];
	}
	good = count >= 2 && der[0] == 0x30 && header <= 6 && header < count && said == count - header;
	free(der);
	return good ? NULL : "a PEM block is damaged";
}

static bool is_wanted(const struct pem_block *block, enum kubeconfig_pem_kind kind)
{
	if (kind == KUBECONFIG_KEY)
		return ends_with(block, "PRIVATE KEY");
	return ends_with(block, "CERTIFICATE") && block->label_length <= strlen("TRUSTED CERTIFICATE");
}

const char *kubeconfig_pem_check(const char *text, size_t count, enum kubeconfig_pem_kind kind)
{
	const char *at = text, *why;
	struct pem_block block;
	size_t blocks = 0, wanted = 0;
	int rc;

	if (strlen(text) != count)
		return "not PEM: it holds a NUL";
	for (; (rc = pem_next(&at, &block)) > 0; blocks++) {
		if (!is_wanted(&block, kind))
			continue;
		if (is_encrypted(&block))
			return "the private key needs a password, which nobody is there to give";
		why = der_check(&block);
		if (why)
			return why;
		wanted++;
	}
	if (rc < 0)
		return "a PEM block has no end";
	if (blocks == 0)
		return "not PEM";
	if (wanted > 0)
		return NULL;
	return kind == KUBECONFIG_KEY ? "holds no private key" : "holds no certificate";
}

const char *kubeconfig_token_trim(char *token)
{
	size_t length = strlen(token), blank = 0;

	while (length > 0 && is_space(token[length - 1]))
		token[--length] = '\0';
	while (blank < length && is_space(token[blank]))
		blank++;
	memmove(token, token + blank, length - blank + 1);
	return kc_has_controls(token) ? "holds control characters" : NULL;
}
