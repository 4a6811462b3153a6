dist_man_MANS += doc/portald.8 doc/portald.yaml.5
dist_doc_DATA += \
	README.md \
	NEWS \
	doc/ANNOTATIONS.md \
	doc/ARCHITECTURE.md \
	doc/HACKING.md \
	doc/METRICS.md \
	doc/THREATS.md
# README is a link to README.md.
EXTRA_DIST += \
	LICENSE \
	README
