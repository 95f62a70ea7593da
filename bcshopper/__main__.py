from bcshopper._cli import main

main()
