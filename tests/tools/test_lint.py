"""Each rule of the lint finds what it is there for, and leaves the rest alone."""
import os
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lint as lint_driver  # noqa: E402
import lint_source  # noqa: E402  (found by the line above)

LINT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lint.py")


@pytest.fixture
def tree(tmp_path):
    """Builds a tree from {path: text}; two modules are there already."""
    def build(files):
        every = {
            "src/base/local.mk": "include/portald/addr.h src/base/addr.c\n",
            "src/relay/local.mk": "include/portald/relay.h src/relay/relay.c src/relay/own.h\n",
            "src/model/local.mk": "include/portald/model.h\n",
            "include/portald/addr.h": "",
            "include/portald/relay.h": "",
            "include/portald/model.h": "",
            "src/base/addr.c": "",
            "src/relay/own.h": "",
            **files,
        }
        for path, text in every.items():
            full = tmp_path / path
            full.parent.mkdir(parents=True, exist_ok=True)
            full.write_bytes(text if isinstance(text, bytes) else text.encode())
        return lint_source.Tree(str(tmp_path), list(every))

    return build


def found(rule, *arguments):
    return [f"{path}:{line}: {text}" for path, line, text in rule(*arguments)]


def function(name, lines):
    return f"static void {name}(void)\n{{\n" + "\twork();\n" * lines + "}\n"


# ---- include direction ----

def test_including_a_module_below_is_fine(tree):
    assert not found(lint_source.rule_include_direction,
                     tree({"src/relay/relay.c": '#include "portald/addr.h"\n#include "relay/own.h"\n'}))


def test_including_a_module_above_is_found(tree):
    findings = found(lint_source.rule_include_direction,
                     tree({"src/relay/relay.c": '\n#include "portald/model.h"\n'}))
    assert findings == ["src/relay/relay.c:2: relay must not include portald/model.h (model)"]


def test_a_public_header_is_held_to_its_module(tree):
    findings = found(lint_source.rule_include_direction,
                     tree({"include/portald/addr.h": '#include "portald/relay.h"\n'}))
    assert findings == ["include/portald/addr.h:1: base must not include portald/relay.h (relay)"]


def test_another_modules_private_header_is_found(tree):
    findings = found(lint_source.rule_include_direction,
                     tree({"src/base/addr.c": '#include "relay/own.h"\n', "src/relay/relay.c": ""}))
    assert findings == ["src/base/addr.c:1: relay/own.h is private to relay"]


def test_a_public_header_of_no_module_is_found(tree):
    assert found(lint_source.rule_include_direction, tree({"include/portald/stray.h": ""}))


def test_an_include_in_a_comment_counts_for_nothing(tree):
    assert not found(lint_source.rule_include_direction,
                     tree({"src/base/addr.c": '/*\n#include "portald/relay.h"\n*/\n'}))


@pytest.mark.parametrize("rows,count", [
    ("| base | | addresses |\n| relay | base, ipc, stats | relays |\n| model | base | |\n", 0),
    ("| base | | addresses |\n| relay | base, model | relays |\n| model | base | |\n", 1),
    ("| base | | addresses |\n| model | base | |\n", 1),
])
def test_the_documents_table_of_modules_is_held_to_the_lints(tree, rows, count):
    assert len(found(lint_source.rule_architecture, tree({"doc/ARCHITECTURE.md": rows}))) == count


# ---- sizes ----

def test_functions_of_the_allowed_lengths_are_fine(tree):
    text = "".join(function(f"f{i}", 15) for i in range(40)) + function("long_one", 100)
    assert not found(lint_source.rule_function_lines, tree({"src/base/addr.c": text}))


def test_a_function_over_the_maximum_is_found(tree):
    text = "".join(function(f"f{i}", 5) for i in range(40)) + function("endless", 101)
    findings = found(lint_source.rule_function_lines, tree({"src/base/addr.c": text}))
    assert len(findings) == 1 and "endless() has 101 lines" in findings[0]


def test_a_high_median_is_found(tree):
    text = "".join(function(f"f{i}", 16) for i in range(9))
    assert "median" in found(lint_source.rule_function_lines, tree({"src/base/addr.c": text}))[0]


def test_too_many_long_functions_are_found(tree):
    text = "".join(function(f"f{i}", 5) for i in range(18)) + function("a", 61) + function("b", 61)
    findings = found(lint_source.rule_function_lines, tree({"src/base/addr.c": text}))
    assert "95th percentile" in findings[0]


def test_a_name_is_found_in_a_head_of_many_lines():
    code = "int x(void);\n\nstatic int the_name(int a,\n\tint b)\n{\n\treturn a;\n}\n"
    assert list(lint_source.functions(code)) == [("the_name", 5, 1)]


def test_initialisers_are_no_functions():
    assert not list(lint_source.functions("static const int x[] = {\n\t1,\n};\nstruct s {\n\tint a;\n};\n"))


@pytest.mark.parametrize("lines,count", [(600, 0), (601, 1)])
def test_long_files_are_found(tree, lines, count):
    assert len(found(lint_source.rule_file_lines, tree({"src/base/addr.c": "\n" * lines}))) == count


# ---- conditional compilation ----

def test_an_if_inside_a_function_is_found(tree):
    text = "static void f(void)\n{\n#ifdef X\n\twork();\n#endif\n}\n"
    findings = found(lint_source.rule_if_density, tree({"src/base/addr.c": text}))
    assert len(findings) == 1 and findings[0].startswith("src/base/addr.c:3:")


def test_many_ifs_are_found(tree):
    text = "#if A\n#endif\n" * 5 + "\n" * 1000
    assert "5 #if" in found(lint_source.rule_if_density, tree({"src/base/addr.c": text}))[0]


def test_include_guards_are_no_ifs():
    assert not list(lint_source.conditionals("#ifndef A_H\n#define A_H\nint x;\n#endif\n"))
    assert list(lint_source.conditionals("#ifndef A_H\n#define B_H\n#endif\n")) == [1]


# ---- calls and types ----

@pytest.mark.parametrize("name", sorted(lint_source.BANNED))
def test_each_banned_call_is_found(tree, name):
    text = f"static int f(void)\n{{\n\treturn {name}(x);\n}}\n"
    findings = found(lint_source.rule_banned_calls, tree({"src/base/addr.c": text}))
    assert len(findings) == 1 and findings[0].startswith(f"src/base/addr.c:3: {name}() is banned")


def test_names_that_only_look_banned_are_fine(tree):
    text = ('/* time(NULL) */\nint relay_time(void);\nconst char *s = "rand()";\n'
            "void g(void)\n{\n\tops->system(1);\n\tops.signal(2);\n"
            "\tsignal(SIGPIPE, SIG_IGN);\n\tclock_gettime(0, 0);\n\tint time = 0;\n}\n")
    assert not found(lint_source.rule_banned_calls, tree({"src/base/addr.c": text}))


def test_a_typedefd_struct_is_found(tree):
    text = "typedef struct {\n\tint a;\n} thing;\n"
    assert found(lint_source.rule_typedefs, tree({"src/base/addr.c": text}))


def test_a_named_function_type_is_fine(tree):
    text = "typedef void callback_fn(void *context);\ntypedef struct addr *make_fn(int x);\n"
    assert not found(lint_source.rule_typedefs, tree({"src/base/addr.c": text}))


def test_a_silenced_check_is_found(tree):
    assert found(lint_source.rule_no_suppressions, tree({"src/base/addr.c": "int x; /* NOLINT */\n"}))
    assert found(lint_source.rule_no_suppressions, tree({"src/base/addr.c": "// cppcheck-suppress foo\n"}))


# ---- documentation and text ----

@pytest.mark.parametrize("text", [
    "/* What it does. */\nint f(int a);\n",
    "/* Both. */\nint f(int a);\nint g(int a);\n",
    "int f(int a); /* what it does */\n",
    "/* File. */\n\n/* ---- section ---- */\n\nint f(int a);\n\nint g(int a);\n",
    "/* Long. */\nint f(int a,\n\tint b);\n",
    "struct s {\n\tint a;\n};\n",
])
def test_documented_functions_are_fine(tree, text):
    assert not found(lint_source.rule_documented, tree({"include/portald/addr.h": text}))


@pytest.mark.parametrize("text", [
    "int f(int a);\n",
    "/* The file. */\n\nint f(int a);\n",
    "/* This. */\nint f(int a);\n\nint g(int a);\n",
    "#include <x.h>\n\nconst char *f(int a,\n\tint b);\n",
])
def test_undocumented_functions_are_found(tree, text):
    assert len(found(lint_source.rule_documented, tree({"include/portald/addr.h": text}))) == 1


@pytest.mark.parametrize("text", ["x \n", "x\t\n", "x", "x\r\n", b"\xff\n"])
def test_bad_text_is_found(tree, text):
    assert found(lint_source.rule_text, tree({"doc/x.md": text}))


def test_a_file_no_fragment_names_is_found(tree):
    files = {"doc/local.mk": "EXTRA_DIST += doc/a.md tests/netns\n", "doc/a.md": "", "doc/b.md": "",
             "tests/netns/x.py": "", ".gitignore": "", "src/relay/relay.c": ""}
    findings = found(lint_source.rule_fragments, tree(files))
    assert [f.split(":")[0] for f in findings] == ["doc/b.md"]


def test_a_script_that_cannot_be_run_is_found(tree):
    assert found(lint_source.rule_executable, tree({"contrib/x.sh": "#!/bin/sh\n"}))


def test_a_program_that_cannot_be_a_script_is_found(tree):
    built = tree({"contrib/x.txt": "text\n"})
    os.chmod(os.path.join(built.root, "contrib/x.txt"), 0o755)
    assert found(lint_source.rule_executable, built)


def test_a_file_without_a_head_is_found(tree):
    assert found(lint_source.rule_heads, tree({"src/base/addr.c": "int x;\n" * 61}))
    assert not found(lint_source.rule_heads, tree({"src/base/addr.c": "/* Owns x. */\n" + "int x;\n" * 61}))


# ---- objects ----

def compiled(tree, text):
    built = tree({"src/base/addr.c": text})
    subprocess.run(["cc", "-fPIE", "-c", "src/base/addr.c", "-o", "src/base/addr.o"], cwd=built.root, check=True)
    return [f for f in found(lint_source.rule_globals, built, built.root) if "addr.c" in f]


@pytest.mark.parametrize("text", [
    "int counter;\n", "static int counter = 3; int *f(void) { return &counter; }\n",
    "int f(void) { static int counter; return counter++; }\n", "_Thread_local int counter;\n",
])
def test_mutable_state_is_found(tree, text):
    assert len(compiled(tree, text)) == 1


def test_constants_are_fine(tree):
    assert not compiled(tree, 'const int x = 3;\nconst char *const names[] = {"a", "b"};\n'
                              'const char *f(int i) { static const char *const n[] = {"c"}; return n[i]; }\n')


# ---- the tools, through lint.py ----

def lint(root, *arguments):
    return subprocess.run([sys.executable, "-B", LINT, f"--root={root}", f"--build={root}",
                           "--cppflags=-D_GNU_SOURCE -Iinclude", *arguments],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


@pytest.fixture
def configured(tree):
    """A tree with the project's own configuration of the tools."""
    def build(files):
        top = os.path.join(os.path.dirname(LINT), "../..")
        for name in (".clang-tidy", ".clang-format"):
            with open(os.path.join(top, name), encoding="utf-8") as file:
                files = {**files, name: file.read()}
        return tree(files).root

    return build


@pytest.mark.parametrize("check,path,text", [
    ("clang-format", "src/base/addr.c", "int  f( void ) { return 0; }\n"),
    ("clang-tidy", "src/base/addr.c", "#include <stdlib.h>\n\nint f(const char *s);\n\n"
     "int f(const char *s)\n{\n\tint *p = NULL;\n\n\tif (s)\n\t\tp = malloc(4);\n\treturn *p;\n}\n"),
    ("cppcheck", "src/base/addr.c", "int f(int a)\n{\n\tint b[2] = {a, a};\n\n\treturn b[2];\n}\n"),
    ("shellcheck", "contrib/x.sh", "#!/bin/sh\nrm -rf $1/*\n"),
    ("python", "contrib/x.py", "def f(:\n"),
    ("pyflakes", "contrib/x.py", "import os\n"),
    ("mandoc", "doc/x.8", ".Dd nonsense\n.Xx\n"),
    ("banned_calls", "src/base/addr.c", "int f(void)\n{\n\treturn rand();\n}\n"),
])
def test_lint_fails_on_what_a_tool_finds(configured, check, path, text):
    done = lint(configured({path: text}), f"--only={check}")
    assert done.returncode == 1, done.stdout
    assert f"FAIL {check}" in done.stdout and path in done.stdout


def test_the_analyzer_knows_that_errno_is_positive(configured):
    text = ("#include <errno.h>\n#include <stddef.h>\n#include <unistd.h>\n\nint f(int fd);\n\n"
            "static int open_it(int fd, int *out)\n{\n\tif (fd < 0)\n\t\treturn -errno;\n"
            "\t*out = fd;\n\treturn 0;\n}\n\n"
            "int f(int fd)\n{\n\tint out;\n\n\tif (open_it(dup(fd), &out) < 0)\n\t\treturn -1;\n"
            "\treturn out;\n}\n")
    done = lint(configured({"src/base/addr.c": text}), "--only=clang-tidy")
    assert done.returncode == 0, done.stdout


def test_a_finding_in_a_header_is_reported_once():
    header = "a.h:1:2: error: bad\n  x\n"
    assert lint_driver.distinct([header + "a.c:1:1: error: own\n", header]) == \
        ["a.h:1:2: error: bad\n  x", "a.c:1:1: error: own"]


def test_emptying_a_table_is_no_use_after_free(configured):
    text = ("#include <stdlib.h>\n#include <uthash.h>\n\nstruct entry {\n\tUT_hash_handle hh;\n};\n\n"
            "void f(struct entry *table);\n\nvoid f(struct entry *table)\n{\n\tstruct entry *entry, *next;\n\n"
            "\tHASH_ITER(hh, table, entry, next)\n\t{\n\t\tHASH_DEL(table, entry);\n\t\tfree(entry);\n\t}\n}\n")
    done = lint(configured({"src/base/addr.c": text}), "--only=clang-tidy", "--only=cppcheck")
    assert done.returncode == 0, done.stdout


def test_lint_is_content_with_a_clean_tree(configured):
    text = "#include <stddef.h>\n\nsize_t f(size_t a);\n\nsize_t f(size_t a)\n{\n\treturn a + 1;\n}\n"
    checks = ["clang-format", "clang-tidy", "cppcheck", "banned_calls", "function_lines", "text"]
    done = lint(configured({"src/base/addr.c": text}), *[f"--only={c}" for c in checks])
    assert done.returncode == 0, done.stdout
