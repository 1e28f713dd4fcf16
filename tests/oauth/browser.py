"""Plays the person at the browser: opens an address, signs in, and prints the address that the browser is sent back to."""

import argparse

from sign_in import Browser


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ["url", "redirect-uri", "user", "password"]:
        parser.add_argument(f"--{name}", required=True)
    args = parser.parse_args()
    browser = Browser(args.redirect_uri, {"username": args.user, "password": args.password, "sub": args.user})
    print(browser.sign_in(args.url))


if __name__ == "__main__":
    main()
