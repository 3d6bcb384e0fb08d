package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// devSecret is the secret of dev and platform if none is given. It is fixed, so that your service's configuration can hold it, and so
// everybody knows it: it says itself that it is no secret.
const devSecret walletcrew.Secret = "walletcrewDevSecretKnownToAllNeverUseItOnAPublicEndpoint00000000" //nolint:gosec // it is no secret

// devAPIKey is the key of their API, for the same reason.
const devAPIKey = "walletcrew-dev-api-key-known-to-all" //nolint:gosec // nor a key

const devTenant = "dev-tenant"

func (c *cli) addSecretFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.secretFile, "secret-file", "", "read the webhook's secret from this `file`, instead of WALLETCREW_SECRET")
}

var errNoSecret = usagef("which secret? Set WALLETCREW_SECRET, or name a file with --secret-file (`walletcrew dev --print-secret` prints that of dev)")

// secret is the webhook's secret of the file or the environment: never of a flag, which every process can read.
func (c *cli) secret() (walletcrew.Secret, error) {
	secret := walletcrew.Secret(os.Getenv("WALLETCREW_SECRET"))
	if c.secretFile != "" {
		text, err := readSmall(c.secretFile)
		if err != nil {
			return "", err
		}
		secret = walletcrew.Secret(text)
	}
	switch secret {
	case "":
		return "", errNoSecret
	case "[redacted]":
		return "", usagef(`the secret is the text "[redacted]", which comes from a log: "walletcrew webhooks secret ID" prints the secret itself`)
	}
	return secret, nil
}

// secretOr is the secret, or the other where none is given.
func (c *cli) secretOr(other walletcrew.Secret) (walletcrew.Secret, error) {
	secret, err := c.secret()
	if errors.Is(err, errNoSecret) {
		return other, nil
	}
	return secret, err
}

const maxSmall = 64 << 10

// readSmall reads a file that holds one secret or key, without the line break at its end.
func readSmall(name string) (string, error) {
	f, err := os.Open(name) //nolint:gosec // the user names it
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxSmall+1))
	text = bytes.TrimRight(text, "\r\n")
	switch {
	case err != nil:
		return "", err
	case len(text) > maxSmall:
		return "", fmt.Errorf("%s is over 64 KiB: that is no secret", name)
	case len(text) == 0:
		return "", fmt.Errorf("%s is empty", name)
	}
	return string(text), nil
}

// writePrivate writes a file that nobody else can read, also where it was there with another mode. A reader sees all of it or nothing.
func writePrivate(name string, text []byte) error {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() { // root could replace /dev/stdout, or /dev/null
		return usagef("%s isn't a file, so it can't be one that only you can read", name)
	}
	dir, base := filepath.Dir(name), filepath.Base(name)
	f, err := os.CreateTemp(dir, "."+base+".*") // mode 0600
	if wrapped, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("can't write %s: %w", name, wrapped.Err)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
