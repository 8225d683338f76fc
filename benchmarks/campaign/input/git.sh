# Clones the repository named by $1 and works in the clone.
git clone -q --no-local "$1" copy
cd copy
git fsck --full --strict
git repack -adfq
git gc -q --aggressive
git log -p --stat | sha256sum
git status --short
git grep -c heap | sha256sum
git ls-files | head -20 | while read -r file; do git blame -s "$file" | sha256sum; done
