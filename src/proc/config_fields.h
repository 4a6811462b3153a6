/* The fields of a configuration file, and which flag each stands for: the one place that ties them. */
#ifndef PROC_CONFIG_FIELDS_H
#define PROC_CONFIG_FIELDS_H

#include "portald/config_file.h"

/* KubeProxyConfiguration, then PortaldConfiguration; ended by a NULL kind. */
extern const struct config_kind config_kinds[];

/* The field that stands for a flag; NULL for a flag that is for the command line alone. */
const struct config_field *config_field_of_flag(const char *flag);

/* True if it is a field of KubeProxyConfiguration, false if of PortaldConfiguration. */
bool config_field_is_kube_proxys(const struct config_field *field);

/* The name under which a flag is known: --logging-format is --log-format. */
const char *config_flag_name(const char *flag);

/* The flags that have no field: what they say is for one command, or says where the file is. Ended by NULL.
 */
extern const char *const config_line_only[];

#endif
