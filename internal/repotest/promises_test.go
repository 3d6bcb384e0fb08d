package repotest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	require.NoError(t, err)
	return string(text)
}

// docs/security.md says so.
func TestSignaturesAreComparedInOnePlace(t *testing.T) {
	t.Parallel()
	var compare, diagnose []string
	for _, dir := range []string{".", "verifier", "receiver"} {
		for _, path := range sources(t, dir) {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			path, err := filepath.Rel(root, path)
			require.NoError(t, err)
			text := read(t, path)
			for range strings.Count(text, "hmac.Equal(") + strings.Count(text, "ConstantTimeCompare(") {
				compare = append(compare, path)
			}
			for line := range strings.Lines(text) {
				if code := strings.TrimSpace(line); strings.Contains(code, "Diagnose(") && !strings.HasPrefix(code, "//") && !strings.HasPrefix(code, "func Diagnose(") {
					diagnose = append(diagnose, path)
				}
			}
		}
	}
	assert.Equal(t, []string{"signature.go"}, compare)
	assert.Empty(t, diagnose, "Diagnose doesn't compare in constant time: nothing on a delivery's way calls it")
}

// An action's tag can be moved; its commit can't.
func TestActionsArePinnedByTheirCommit(t *testing.T) {
	t.Parallel()
	workflows, err := filepath.Glob(root + "/.github/workflows/*")
	require.NoError(t, err)
	require.NotEmpty(t, workflows)
	for _, workflow := range workflows {
		text, err := os.ReadFile(workflow)
		require.NoError(t, err)
		for _, uses := range regexp.MustCompile(`(?m)^\W*uses: *(\S+)`).FindAllStringSubmatch(string(text), -1) {
			assert.Regexp(t, `@[0-9a-f]{40}$`, uses[1], "%s", workflow)
		}
	}
}

// A tag is for HEAD: what isn't committed would be missing in the release.
func TestNoTagIsMadeOfWhatIsNotCommitted(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("no bash here")
	}
	clone := t.TempDir()
	out, err := exec.CommandContext(t.Context(), "git", "clone", "--quiet", "--no-tags", root, clone).CombinedOutput()
	require.NoError(t, err, string(out))
	require.NoError(t, os.WriteFile(clone+"/.ci/release", []byte(read(t, ".ci/release")), 0o755))
	require.NoError(t, os.WriteFile(clone+"/forgotten.go", []byte("package walletcrew\n"), 0o600))
	out, err = exec.CommandContext(t.Context(), "bash", clone+"/.ci/release", "tag", "v0.1.0").CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(out), "commit first")
	assert.Contains(t, string(out), "forgotten.go")
	out, err = exec.CommandContext(t.Context(), "git", "-C", clone, "tag").Output()
	require.NoError(t, err)
	assert.Empty(t, string(out))
}

// docs/release.md is for maintainers on macOS, too.
func TestAReleaseNeedsNothingOfGNU(t *testing.T) {
	t.Parallel()
	for line := range strings.Lines(read(t, ".ci/release")) {
		if !strings.HasPrefix(line, "#") {
			assert.NotRegexp(t, `sed -i|\\[swd+?|]|readlink -f|mapfile|declare -A|xargs -[rd]|\$\{\w+[,^]`, line)
		}
	}
}

// A module that gets no tag can't be required, and one that isn't compared may break its users in silence.
func TestEachModuleIsReleased(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"docs/release.md", ".ci/apidiff"} {
		assert.Contains(t, read(t, file), ".ci/release ", "%s goes by the one list of modules", file)
	}
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("no bash here")
	}
	out, err := exec.Command("bash", root+"/.ci/release", "modules").Output()
	require.NoError(t, err)
	released := strings.Fields(string(out))
	require.NoError(t, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == "go.mod" {
			var dir string
			dir, err = filepath.Rel(root, filepath.Dir(path))
			first, _, _ := strings.Cut(filepath.ToSlash(dir), "/")
			nobodyRequires := first == "examples" || first == "benchmarks" || first == "soak"
			assert.Equal(t, !nobodyRequires, slices.Contains(released, filepath.ToSlash(dir)), dir)
		}
		return err
	}))
}
