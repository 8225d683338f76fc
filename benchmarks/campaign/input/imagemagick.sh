convert -size 900x700 gradient:red-blue -swirl 180 start.png
convert start.png -resize 60% -blur 0x3 -rotate 17 -quality 88 a.jpg
convert a.jpg start.png -append -colors 64 b.gif
convert b.gif -edge 2 c.tiff
identify -format '%m %w %h %k %#\n' start.png a.jpg b.gif c.tiff
