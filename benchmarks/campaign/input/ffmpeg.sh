ffmpeg -v error -f lavfi -i testsrc=d=3:s=480x270 -f lavfi -i sine=d=3 -c:v mpeg4 -c:a aac \
    -flags +bitexact -fflags +bitexact -threads 2 a.mkv
ffmpeg -v error -i a.mkv -vf scale=240:134,hflip -c:v libx264 -threads 2 -f md5 -
ffmpeg -v error -i a.mkv -f framemd5 - | sha256sum
