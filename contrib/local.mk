# Scripts for people, and what makes a service of the program. Of these only the completion is
# installed, and the systemd unit if wanted.
EXTRA_DIST += \
	.clang-format \
	.clang-tidy \
	.editorconfig \
	.dockerignore \
	contrib/container/Containerfile \
	contrib/demo/backend.py \
	contrib/demo/demo.sh \
	contrib/demo/inside.sh \
	contrib/demo/manifests.yaml \
	contrib/git-hooks/commit-msg \
	contrib/git-hooks/pre-commit \
	contrib/grafana/portald.json \
	contrib/install-hooks.sh \
	contrib/kubernetes/README.md \
	contrib/kubernetes/clusterrolebinding.yaml \
	contrib/kubernetes/configmap.yaml \
	contrib/kubernetes/daemonset.yaml \
	contrib/kubernetes/kustomization.yaml \
	contrib/kubernetes/serviceaccount.yaml \
	contrib/lib.sh \
	contrib/packages.txt \
	contrib/quickstart.sh \
	debian/changelog \
	debian/control \
	debian/copyright \
	debian/portald.dirs \
	debian/portald.lintian-overrides \
	debian/portald.postinst \
	debian/portald.prerm \
	debian/portald.sysusers \
	debian/rules \
	debian/source/format \
	contrib/systemd/portald.default \
	contrib/systemd/portald.service.in \
	contrib/systemd/sysusers.conf \
	contrib/test.sh

bashcompletiondir = $(datadir)/bash-completion/completions
dist_bashcompletion_DATA = contrib/completion/portald

contrib/systemd/portald.service: contrib/systemd/portald.service.in Makefile
	@$(MKDIR_P) contrib/systemd
	$(AM_V_GEN)sed 's,[@]sbindir@,$(sbindir),g' $(srcdir)/contrib/systemd/portald.service.in >$@
CLEANFILES += contrib/systemd/portald.service
if SYSTEMD_UNIT
systemdsystemunit_DATA = contrib/systemd/portald.service
endif
