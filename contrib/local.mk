# Scripts for people; none of them is installed.
EXTRA_DIST += \
	.clang-format \
	.clang-tidy \
	.editorconfig \
	contrib/demo/backend.py \
	contrib/demo/demo.sh \
	contrib/demo/inside.sh \
	contrib/demo/manifests.yaml \
	contrib/git-hooks/commit-msg \
	contrib/git-hooks/pre-commit \
	contrib/install-hooks.sh \
	contrib/lib.sh \
	contrib/packages.txt \
	contrib/quickstart.sh \
	contrib/test.sh
