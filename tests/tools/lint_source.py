"""The checks of `make lint` that read the tree themselves, one function a rule.

Each rule takes a Tree and yields findings (path, line, text). There is no list of exceptions: what a rule
does not hold for is part of the rule and stands beside it.
"""
import os
import re
import stat
import statistics
import subprocess

# Who may include whose public headers (include/portald/*.h): doc/ARCHITECTURE.md.
MAY_INCLUDE = {
    "base": set(),
    "model": {"base"},
    "source": {"base", "model"},
    "api": {"base", "source"},
    "plan": {"base", "model"},
    "ipc": {"base", "plan"},
    "steering": {"base", "plan"},
    "listen": {"base", "plan"},
    "stats": {"base"},
    "relay": {"base", "ipc", "stats"},
    "admin": {"base", "stats"},
    "proc": {"base", "model", "source", "api", "plan", "ipc", "steering", "listen", "stats", "relay",
             "admin"},
    "main": {"proc"},
}

FUNCTION_LINES_MEDIAN = 15
FUNCTION_LINES_95 = 60
FUNCTION_LINES_MAX = 100
FILE_LINES_MAX = 600
IFS_PER_1000_LINES = 3

# What to use instead stands beside each.
BANNED = {
    "time": "clock_now_ms(), or take now_ms as a parameter",
    "gettimeofday": "clock_now_ms()",
    "rand": "an injected seed",
    "random": "an injected seed",
    "srand": "an injected seed",
    "srandom": "an injected seed",
    "drand48": "an injected seed",
    "sprintf": "snprintf()",
    "vsprintf": "vsnprintf()",
    "strcpy": "snprintf() or memcpy() with a checked length",
    "strncpy": "snprintf() or memcpy() with a checked length",
    "stpcpy": "snprintf() or memcpy() with a checked length",
    "strcat": "snprintf()",
    "strncat": "snprintf()",
    "strtok": "strchr(), strcspn() or strsep()",
    "strtok_r": "strchr(), strcspn() or strsep()",
    "gets": "getline()",
    "scanf": "strtoul() and its end pointer",
    "sscanf": "strtoul() and its end pointer",
    "fscanf": "strtoul() and its end pointer",
    "atoi": "strtol() and its end pointer",
    "atol": "strtol() and its end pointer",
    "atoll": "strtoll() and its end pointer",
    "atof": "strtod() and its end pointer",
    "system": "posix_spawn() or fork() and exec() with an argument vector",
    "popen": "posix_spawn() or fork() and exec() with an argument vector",
    "signal": "sigaction(), signalfd() or libevent",
    "localtime": "gmtime_r()",
    "gmtime": "gmtime_r()",
    "localtime_r": "gmtime_r()",
    "asctime": "strftime()",
    "ctime": "strftime()",
    "strerror": "log_errno() or strerrordesc_np()",
    "perror": "log_error()",
    "alloca": "a fixed buffer or the heap",
    "tmpnam": "mkstemp() or memfd_create()",
    "mktemp": "mkstemp() or memfd_create()",
    "setjmp": "return codes",
    "longjmp": "return codes",
    "vfork": "posix_spawn()",
    "gethostbyname": "the resolver off the loop",
    "getaddrinfo": "the resolver off the loop",
    "sleep": "a timer",
    "usleep": "a timer",
    "select": "poll() or a loop",
}

# The logger is the one process-wide state of the program, by design.
MUTABLE_GLOBALS = {("src/base/log.c", "logger")}

# Files that tools of the work on the tree read and that a release does not need.
NOT_RELEASED = re.compile(r"^(\.gitignore|\.gitattributes|\.ci/.*|\.github/.*)$")


class Tree:
    """The tree under root: paths relative to it, texts, and C code without comments and strings."""

    def __init__(self, root, files=None):
        self.root = root
        self.files = sorted(files if files is not None else tree_files(root))
        self._texts = {}
        self._code = {}

    def text(self, path):
        if path not in self._texts:
            with open(os.path.join(self.root, path), encoding="utf-8", errors="surrogateescape") as file:
                self._texts[path] = file.read()
        return self._texts[path]

    def code(self, path):
        if path not in self._code:
            self._code[path] = blank_comments_and_strings(self.text(path))
        return self._code[path]

    def under(self, directory, *suffixes):
        return [p for p in self.files if p.startswith(directory) and p.endswith(tuple(suffixes))]

    def is_link(self, path):
        return os.path.islink(os.path.join(self.root, path))


def tree_files(root):
    """The files git knows or would add; in a release, which has no git, every file."""
    listed = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard", "-z"],
                            capture_output=True, text=True, check=False)
    if listed.returncode == 0 and os.path.exists(os.path.join(root, ".git")):
        names = [n for n in listed.stdout.split("\0") if n]
        return [n for n in names if os.path.lexists(os.path.join(root, n))]
    found = []
    for directory, subdirectories, names in os.walk(root):
        subdirectories[:] = [d for d in subdirectories if d not in (".git", "build", "__pycache__",
                                                                     "autom4te.cache", "build-aux")]
        found += [os.path.relpath(os.path.join(directory, n), root) for n in names]
    return found


def blank_comments_and_strings(text):
    """The same text, as many lines, with comments and the insides of strings replaced by spaces. The names
    in #include lines stay."""
    def blank(match):
        found = match.group(0)
        if found.startswith("#"):
            return found
        if found[0] in "\"'":
            return found[0] + " " * (len(found) - 2) + found[0]
        return re.sub(r"[^\n]", " ", found)

    token = r'^#[ \t]*include[^\n]*|/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(token, blank, text, flags=re.S | re.M)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def functions(code):
    """(name, line, body lines) of each function. Relies on the format, which is checked too: a body's
    braces stand in the first column, and so does no other lone brace."""
    lines = code.split("\n")
    start = None
    for number, line in enumerate(lines):
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            head = "\n".join(lines[max(0, start - 12):start])
            head = re.split(r"[;}]\s*\n|^#[^\n]*\n", head, flags=re.M)[-1]
            name = re.search(r"(\w+)\s*\(", head)
            yield (name.group(1) if name else "?", start + 1, number - start - 1)
            start = None


def module_of(path):
    """The module a source file belongs to: src/relay/x.c -> relay, src/main.c -> main."""
    parts = path.split("/")
    return "main" if len(parts) == 2 else parts[1]


def header_modules(tree):
    """Which module each public header belongs to, by the Makefile fragment that lists it."""
    owner = {}
    for fragment in tree.under("src/", "/local.mk"):
        for name in re.findall(r"include/portald/(\S+\.h)", tree.text(fragment)):
            owner[name] = module_of(fragment)
    return owner


def rule_include_direction(tree):
    owner = header_modules(tree)
    for path in tree.under("include/portald/", ".h"):
        if os.path.basename(path) not in owner:
            yield path, 1, "no src/*/local.mk lists this header, so no module owns it"
    modules = {module_of(p) for p in tree.under("src/", ".c", ".h") if p.count("/") > 1}
    for path in tree.under("src/", ".c", ".h") + tree.under("include/portald/", ".h"):
        mine = owner.get(os.path.basename(path)) if path.startswith("include/") else module_of(path)
        if mine not in MAY_INCLUDE:
            yield path, 1, f"the module {mine} is not in the table of who may include whom"
            continue
        for number, line in enumerate(tree.code(path).split("\n"), 1):
            match = re.match(r'\s*#\s*include\s+["<]([^">]+)[">]', line)
            if match:
                yield from include_findings(path, number, mine, match.group(1), owner, modules)


def include_findings(path, number, mine, included, owner, modules):
    directory, _, name = included.rpartition("/")
    if directory == "portald":
        theirs = owner.get(name)
        if theirs is None:
            yield path, number, f"{included} belongs to no module"
        elif theirs != mine and theirs not in MAY_INCLUDE[mine]:
            yield path, number, f"{mine} must not include {included} ({theirs})"
    elif directory in modules and directory != mine:
        yield path, number, f"{included} is private to {directory}"


def rule_architecture(tree):
    """The table of modules in doc/ARCHITECTURE.md says what MAY_INCLUDE says."""
    path = "doc/ARCHITECTURE.md"
    rows = re.findall(r"^\| (\w+) \| ([\w, ]*)\|", tree.text(path), re.M)
    told = {name: set(re.findall(r"\w+", below)) for name, below in rows if name in MAY_INCLUDE}
    for name, below in MAY_INCLUDE.items():
        if not tree.under(f"src/{name}", ""):
            continue
        if name not in told:
            yield path, 1, f"no row for the module {name}"
        elif told[name] != below and told[name] != {"all"}:
            yield path, 1, f"{name} may include {', '.join(sorted(below)) or 'nothing'}"


def rule_function_lines(tree):
    lengths = []
    for path in tree.under("src/", ".c", ".h"):
        for name, line, length in functions(tree.code(path)):
            lengths.append((length, path, line, name))
            if length > FUNCTION_LINES_MAX:
                yield path, line, f"{name}() has {length} lines; at most {FUNCTION_LINES_MAX}"
    lengths.sort()
    if not lengths:
        return
    median = statistics.median(entry[0] for entry in lengths)
    if median > FUNCTION_LINES_MEDIAN:
        yield "src", 0, f"the median function has {median:g} lines; at most {FUNCTION_LINES_MEDIAN}"
    length, path, line, name = lengths[(len(lengths) * 95 - 1) // 100]
    if length > FUNCTION_LINES_95:
        yield path, line, (f"more than 5 % of the functions are longer than {FUNCTION_LINES_95} lines "
                           f"(95th percentile: {name}() with {length})")


def rule_file_lines(tree):
    for path in tree.under("src/", ".c"):
        count = tree.text(path).count("\n")
        if count > FILE_LINES_MAX:
            yield path, count, f"{count} lines; at most {FILE_LINES_MAX}"


def conditionals(code):
    """Line numbers of #if, #ifdef, #ifndef, but for an include guard."""
    lines = code.split("\n")
    directives = [(n, l) for n, l in enumerate(lines, 1) if re.match(r"\s*#", l)]
    for place, (number, line) in enumerate(directives):
        match = re.match(r"\s*#\s*(if|ifdef|ifndef)\b\s*(.*)", line)
        if not match:
            continue
        following = directives[place + 1][1] if place + 1 < len(directives) else ""
        guard = place == 0 and match.group(1) == "ifndef" and \
            re.match(r"\s*#\s*define\s+" + re.escape(match.group(2).strip()) + r"\s*$", following)
        if not guard:
            yield number


def rule_if_density(tree):
    count = 0
    lines = 0
    for path in tree.under("src/", ".c", ".h"):
        code = tree.code(path)
        lines += code.count("\n")
        found = list(conditionals(code))
        count += len(found)
        bodies = [(line, line + length + 1) for _, line, length in functions(code)]
        for number in found:
            if any(first < number < last for first, last in bodies):
                yield path, number, "#if inside a function: choose by file or by a function's two definitions"
    # A small tree may have a few.
    if count > max(3, lines * IFS_PER_1000_LINES / 1000):
        yield "src", 0, f"{count} #if in {lines} lines; at most {IFS_PER_1000_LINES} in 1,000"


def rule_banned_calls(tree):
    call = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
    for path in tree.under("src/", ".c", ".h"):
        code = tree.code(path)
        for match in call.finditer(code):
            name = match.group(1)
            # A handler needs sigaction(), which says what happens to interrupted calls.
            if name == "signal" and re.match(r"[^();]*,\s*SIG_(IGN|DFL)\s*\)", code[match.end():]):
                continue
            yield path, line_of(code, match.start()), f"{name}() is banned: use {BANNED[name]}"


def rule_typedefs(tree):
    """No typedef'd struct, union or enum; function types may have a name."""
    for path in tree.under("src/", ".c", ".h") + tree.under("include/", ".h"):
        code = tree.code(path)
        for match in re.finditer(r"^\s*typedef\s+(struct|union|enum)\b(?![^;{]*\()", code, re.M):
            yield path, line_of(code, match.start(1)), f"typedef of a {match.group(1)}"


def rule_fragments(tree):
    """Every file of a release is named in a Makefile fragment (or its directory is, in EXTRA_DIST)."""
    named = set()
    for fragment in [p for p in tree.files if p.endswith(".mk")] + tree.under("Makefile.am", ""):
        named.add(fragment)
        text = tree.text(fragment).replace("$(srcdir)/", "").replace("$(top_srcdir)/", "")
        named.update(re.findall(r"[\w.+-]+(?:/[\w.+-]+)*", text))
    named.update(["configure.ac", "Makefile.am"])
    for path in tree.files:
        parents = [path[:i] for i, c in enumerate(path) if c == "/"]
        directories = [p for p in parents if p in named and p.startswith(("tests/", "doc/examples"))]
        if path not in named and not directories and not NOT_RELEASED.match(path):
            yield path, 1, "no Makefile fragment names this file: it would be missing from a release"


def rule_documented(tree):
    """Every function in a public header has a comment: before it, before the group of lines without a gap
    in which it stands, or as the heading of its section."""
    prototype = re.compile(r"^[\w*][^;{}()=]*?\b(\w+)\s*\([^;{}]*\)[^;{}]*;", re.S)
    for path in tree.under("include/portald/", ".h"):
        text = tree.text(path)
        heading = False
        offset = 0
        for group in re.split(r"\n[ \t]*\n", text):
            line = line_of(text, offset)
            offset += len(group) + len(re.match(r"\n?[ \t]*\n?", text[offset + len(group):]).group(0))
            if re.fullmatch(r"\s*/\*((?!\*/).)*\*/\s*", group, re.S):
                heading = line > 1
                continue
            if heading or "/*" in group.split(";")[0]:
                continue
            for at, statement in statements(group):
                if "/*" in statement:
                    break
                match = prototype.match(statement)
                if match and not statement.startswith(("typedef", "#", "static")):
                    yield path, line + at, f"{match.group(1)}() has no comment"
                    break


def statements(group):
    """(line within the group, text) of each piece that ends with a semicolon at its line's end."""
    start = 0
    lines = group.split("\n")
    for number, line in enumerate(lines):
        if line.startswith("#") and not line.endswith("\\"):
            start = number + 1
        elif re.search(r";\s*(/\*.*)?$", line) or number == len(lines) - 1:
            yield start, "\n".join(lines[start:number + 1])
            start = number + 1


def rule_text(tree):
    for path in tree.files:
        if tree.is_link(path):
            continue
        with open(os.path.join(tree.root, path), "rb") as file:
            content = file.read()
        if path.startswith("tests/fuzz/") and not path.endswith((".c", ".h", ".mk", ".sh")):
            continue  # corpora hold anything
        if path.startswith("tests/replay/recorded/"):
            continue  # what a server sent stays as it came
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            yield path, content.count(b"\n", 0, error.start) + 1, "not UTF-8"
            continue
        if path.startswith("tests/unit/") and not path.endswith((".c", ".h", ".mk")):
            continue  # test data may need odd white space
        if text and not text.endswith("\n"):
            yield path, text.count("\n") + 1, "no newline at the end"
        for number, line in enumerate(text.split("\n"), 1):
            if line.rstrip("\r \t") != line:
                yield path, number, "white space at the end of the line"
            if "\r" in line:
                yield path, number, "carriage return"


def rule_no_suppressions(tree):
    """The tools' findings are mended, not silenced. A test's tables may have a format of their own."""
    silencers = r"NOLINT|cppcheck-suppress|LCOV_EXCL|pragma\s+(GCC|clang)\s+diag"
    for path in tree.under("src/", ".c", ".h") + tree.under("include/", ".h") + tree.under("tests/", ".c"):
        silencer = silencers if path.startswith("tests/") else silencers + r"|clang-format\s+off"
        for number, line in enumerate(tree.text(path).split("\n"), 1):
            if re.search(silencer, line):
                yield path, number, "silences a check"


def rule_executable(tree):
    """A file that opens with #! can be run, and no other."""
    for path in tree.files:
        if tree.is_link(path) or path.startswith("tests/fuzz/"):
            continue
        full = os.path.join(tree.root, path)
        with open(full, "rb") as file:
            script = file.read(2) == b"#!"
        if script != bool(os.stat(full).st_mode & stat.S_IXUSR):
            yield path, 1, "opens with #! but is not executable" if script else "executable but no script"


def rule_heads(tree):
    """A file in src with more than a page of code opens with a comment: what it owns, who runs it."""
    for path in tree.under("src/", ".c"):
        text = tree.text(path)
        if text.count("\n") > 60 and not text.lstrip().startswith("/*"):
            yield path, 1, "opens without a comment on what it owns and which process runs it"


def rule_globals(tree, build):
    """No mutable object with static storage, but for the logger: read from the objects of the build."""
    for path in tree.under("src/", ".c"):
        built = find_object(build, path)
        if built is None:
            yield path, 1, "not compiled in this build"
            continue
        yield from global_findings(path, built)


def find_object(build, path):
    """A program with flags of its own has its objects named program-file.o."""
    directory = os.path.join(build, os.path.dirname(path))
    stem = os.path.basename(path)[:-2]
    names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    fitting = [n for n in names if n == stem + ".o" or n.endswith("-" + stem + ".o")]
    return os.path.join(directory, fitting[0]) if fitting else None


def global_findings(path, built):
    listing = subprocess.run(["objdump", "-t", built], capture_output=True, text=True, check=True).stdout
    for line in listing.split("\n"):
        # VALUE FLAGS SECTION<tab>SIZE NAME; sections of constants that need relocation are .data.rel.ro*.
        match = re.match(r"\S+ .{7} (\S+)\t(\S+)\s+(?:\.hidden )?(\S+)$", line)
        if not match or int(match.group(2), 16) == 0:
            continue
        section, _, name = match.groups()
        mutable = re.match(r"(\.data|\.bss|\.tdata|\.tbss|\*COM\*)", section) and \
            not section.startswith(".data.rel.ro")
        name = re.sub(r"\.\d+$", "", name)
        # The sanitizers, gcov and the assembler add objects of their own.
        if mutable and not name.startswith(("__", ".", "_")) and (path, name) not in MUTABLE_GLOBALS:
            yield path, 1, f"mutable object with static storage: {name}"


# Those that read single files and take no time: what the hook before a commit runs.
QUICK = [rule_include_direction, rule_architecture, rule_function_lines, rule_file_lines, rule_if_density,
         rule_banned_calls, rule_typedefs, rule_fragments, rule_documented, rule_text, rule_no_suppressions,
         rule_executable, rule_heads]
