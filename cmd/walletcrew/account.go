package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// An account is the tenant of the platform that a command is for, as its flags say. The key is never one of them: every process can read
// the flags of all others.
type account struct {
	tenant     string
	baseURL    string
	apiKeyFile string
	profile    string
}

func (c *cli) addAccountFlags(cmd *cobra.Command) {
	flags := cmd.PersistentFlags()
	flags.StringVar(&c.account.tenant, "tenant", "", "the tenant's `id` (default: WALLETCREW_TENANT_ID, or the profile's)")
	flags.StringVar(&c.account.baseURL, "base-url", "", "the platform's server (default: WALLETCREW_BASE_URL, the profile's, or "+walletcrew.ProductionURL+")")
	flags.StringVar(&c.account.apiKeyFile, "api-key-file", "", "read the API key from this `file` (default: WALLETCREW_API_KEY, or the profile's)")
	flags.StringVar(&c.account.profile, "profile", "", "a profile of the configuration directory, such as \"staging\": profiles/`name`.yaml")
}

// A profile is a file of the configuration directory.
type profile struct {
	Tenant  string `yaml:"tenant"`
	APIKey  string `yaml:"apiKey"`
	BaseURL string `yaml:"baseUrl"`
}

var errNoAccount = errors.New("no API key")

// credentials settles who is meant: a flag comes before the environment, and that before the profile.
func (a account) credentials() (profile, error) {
	p, err := a.readProfile()
	if err != nil {
		return p, err
	}
	p.Tenant = cmp.Or(a.tenant, os.Getenv("WALLETCREW_TENANT_ID"), p.Tenant)
	p.BaseURL = cmp.Or(a.baseURL, os.Getenv("WALLETCREW_BASE_URL"), p.BaseURL, walletcrew.ProductionURL)
	p.APIKey = cmp.Or(os.Getenv("WALLETCREW_API_KEY"), p.APIKey)
	if a.apiKeyFile != "" {
		if p.APIKey, err = readSmall(a.apiKeyFile); err != nil {
			return p, err
		}
	}
	if p.APIKey == "" {
		return p, fmt.Errorf("%w: %w", errNoAccount, usagef("set WALLETCREW_API_KEY, or name a file with --api-key-file or a profile with --profile"))
	}
	if p.Tenant == "" {
		return p, fmt.Errorf("no tenant: %w", usagef("set WALLETCREW_TENANT_ID, or --tenant"))
	}
	return p, nil
}

// readProfile reads the profile that was asked for, or the default one where there is one.
func (a account) readProfile() (profile, error) {
	var p profile
	name := cmp.Or(a.profile, os.Getenv("WALLETCREW_PROFILE"))
	wanted := name != ""
	name = cmp.Or(name, "default")
	if name != filepath.Base(name) || strings.HasPrefix(name, ".") {
		return p, usagef("--profile %s: it is a name, not a path", name)
	}
	dir, err := configDir()
	if err != nil {
		if wanted {
			return p, err
		}
		return p, nil
	}
	file := filepath.Join(dir, "profiles", name+".yaml")
	info, err := os.Stat(file) //nolint:gosec // the name has no path, see above
	switch {
	case errors.Is(err, fs.ErrNotExist) && !wanted:
		return p, nil
	case errors.Is(err, fs.ErrNotExist):
		return p, usagef("there is no profile %s: write tenant, apiKey and baseUrl into %s, and chmod 600 it", name, file)
	case err != nil:
		return p, err
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0: // Windows has other means
		return p, fmt.Errorf("others can read %s, which holds a key: chmod 600 %s", file, file)
	}
	text, err := readSmall(file)
	if err != nil {
		return p, err
	}
	if err := yaml.Unmarshal([]byte(text), &p); err != nil {
		return p, fmt.Errorf("%s isn't YAML with tenant, apiKey and baseUrl", file) // the error itself may show the key
	}
	return p, nil
}

// client is a client for the account.
func (c *cli) client() (*walletcrew.Client, error) {
	p, err := c.account.credentials()
	if err != nil {
		return nil, err
	}
	return c.newClient(p)
}

func (c *cli) newClient(p profile) (*walletcrew.Client, error) {
	log := slog.New(slog.DiscardHandler) // the commands say what there is to say
	if c.verbose {
		log = slog.New(slog.NewTextHandler(c.err, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return walletcrew.NewClient(p.Tenant, walletcrew.WithAPIKey(p.APIKey), walletcrew.WithBaseURL(p.BaseURL),
		walletcrew.WithUserAgent("walletcrew-command/"+version().Version), walletcrew.WithLogger(log))
}

// configDir is the command's directory of configuration.
func configDir() (string, error) {
	if dir := os.Getenv("WALLETCREW_CONFIG_DIR"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "walletcrew"), nil
}
