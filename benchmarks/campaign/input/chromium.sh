# The sandbox wants user namespaces, which a container may not have; root may not run without it.
chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --user-data-dir="$PWD/profile" \
    --dump-dom "file://$PWD/page.html" 2>/dev/null | sha256sum
