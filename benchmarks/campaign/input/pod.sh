for page in $(ls /usr/share/perl/5.*/pod/*.pod /usr/share/perl/5.*/*.pm | head -60); do
    pod2text "$page" | sha256sum
done
