# Needs Go, make and git; "make race" needs a C compiler as well.

GO           ?= go
FUZZTIME     ?= 10s
STATICCHECK  ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2
TESTFLAGS    ?=
# Debian packages that the tests need beyond Go. They are installed with apt-get when they are missing and that is possible.
TEST_PACKAGES ?= bash conmon fuse3 munge procps python3-minimal qemu-user-static slurm-client slurmctld slurmd util-linux

BINARY        = mlrun
PREFIX       ?= /usr/local
DESTDIR      ?=
BIN           = $(DESTDIR)$(PREFIX)/bin
SHARE         = $(DESTDIR)$(PREFIX)/share

# What is tested for linux/arm64 on another processor, by a program that emulates one and passes system calls on.
EMULATOR     ?= qemu-aarch64-static
EMULATED     ?= ./bundle ./limit ./rlimit ./signame ./runtime/seccomp ./runtime/sockpath ./runtime/store ./runtime/launch/...

# What is tested as macOS has it, on Linux: without a subreaper, without pidfds, and without all that only Linux has (package proc, the tag portable).
PORTABLE     ?= ./proc ./runtime ./runtime/launch ./runtime/supervise ./batch
PORTABLE_RUN ?= ^Test(Scripts|ScriptsAsNobody|FaultsAsNobody|(Supervisor|Reaper|ExecReaper|ExecClient|Creator|Both)Killed|ReaperStopped|SupervisorOfNobody|TwoCreators|KillRacesExit|CreateMeetsDelete|ReturnsAtOnce|StuckReader|Terminal[A-Za-z]*)$$

# Staticcheck is built for this platform and looks at the code of another one. What is not written for it in full has functions that nobody
# calls there (U1000); these packages are.
DARWIN_CHECK  = $(GO) run -exec "env GOOS=darwin GOARCH=arm64 CGO_ENABLED=0" $(STATICCHECK)
ON_DARWIN     = ./batch ./bundle ./libproc ./limit ./meter ./proc ./rlimit ./signame ./runtime ./runtime/launch ./runtime/seccomp ./runtime/sockpath ./runtime/store ./runtime/supervise

.PHONY: all build cross cross-check man install test test-arm64 test-portable race lint bench fuzz clean test-packages

all: build

build:
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags "-s -w" -o "$(BINARY)" ./cmd/mlrun

cross:
	GO="$(GO)" scripts/cross dist

# Compiles everything anew, in some minutes.
cross-check:
	GO="$(GO)" scripts/cross check dist

man:
	$(GO) test -count=1 -run '^TestManPages$$' ./cmd/mlrun -update

# The scripts for completion are what the new binary prints, so it must run here.
install: build
	install -d "$(BIN)" "$(SHARE)/man/man1" "$(SHARE)/bash-completion/completions" "$(SHARE)/zsh/site-functions" "$(SHARE)/fish/vendor_completions.d"
	install -m 755 "$(BINARY)" "$(BIN)/mlrun"
	install -m 644 man/*.1 "$(SHARE)/man/man1"
	umask 022; "$(BIN)/mlrun" completion bash >"$(SHARE)/bash-completion/completions/mlrun"
	umask 022; "$(BIN)/mlrun" completion zsh >"$(SHARE)/zsh/site-functions/_mlrun"
	umask 022; "$(BIN)/mlrun" completion fish >"$(SHARE)/fish/vendor_completions.d/mlrun.fish"

test-packages:
	@if [ -n "$(strip $(TEST_PACKAGES))" ]; then scripts/install-packages $(TEST_PACKAGES); fi

# One after the other: each keeps the machine busy as it is.
test: test-packages
	$(GO) test $(TESTFLAGS) ./...
	$(MAKE) test-portable

test-arm64:
	@command -v "$(EMULATOR)" >/dev/null || { echo "make test-arm64: no $(EMULATOR): install Debian's qemu-user-static" >&2; exit 1; }
	MLRUN_EMULATED=1 GOOS=linux GOARCH=arm64 CGO_ENABLED=0 $(GO) test $(TESTFLAGS) -exec "$(EMULATOR)" $(EMULATED)

test-portable: test-packages
	$(GO) test -tags portable $(TESTFLAGS) $(PORTABLE)
	$(GO) test -tags portable $(TESTFLAGS) -run '$(PORTABLE_RUN)' ./cmd/mlrun

race: test-packages
	@command -v "$$($(GO) env CC | cut -d ' ' -f 1)" >/dev/null || { \
		echo "make race: the race detector needs cgo, and there is no C compiler ($$($(GO) env CC)): install gcc" >&2; exit 1; }
	GORACE="$${GORACE:-atexit_sleep_ms=0}" CGO_ENABLED=1 $(GO) test -race $(TESTFLAGS) ./... # else each process of a test sleeps a second at its end

lint:
	@files="$$(gofmt -l .)"; if [ -n "$$files" ]; then echo "gofmt -w is due for:" >&2; echo "$$files" >&2; exit 1; fi
	GOOS=linux CGO_ENABLED=0 $(GO) vet ./...
	GOOS=linux CGO_ENABLED=0 $(GO) vet -tags portable ./...
	GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 $(GO) vet ./...
	GOOS=darwin GOARCH=amd64 CGO_ENABLED=0 $(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) run $(STATICCHECK) -tags portable -checks inherit,-U1000 ./...
	$(DARWIN_CHECK) $(ON_DARWIN)
	$(DARWIN_CHECK) -checks inherit,-U1000 ./...

bench:
	$(GO) run ./bench

fuzz:
	GO="$(GO)" FUZZTIME="$(FUZZTIME)" scripts/fuzz

clean:
	rm -rf mlrun dist
