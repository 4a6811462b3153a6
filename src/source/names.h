/* Kubernetes' rules for names. Each function returns NULL if text keeps the rule, otherwise what the rule is.
 */
#ifndef SOURCE_NAMES_H
#define SOURCE_NAMES_H

#include <stddef.h>

const char *names_dns1035_label(const char *text);     /* Service names */
const char *names_dns1123_label(const char *text);     /* namespaces, port names */
const char *names_dns1123_subdomain(const char *text); /* all other objects' names */
const char *names_iana_service(const char *text);      /* targetPort by name */
const char *names_label_key(const char *text);         /* also appProtocol */
const char *names_label_value(const char *text);

/* The smallest number of insertions, deletions and replacements that turn a into b; letters' case costs
 * nothing. Texts of 64 characters and more are not compared: the result is large. */
size_t names_distance(const char *a, const char *b);

#endif
