import loader

loader.main()
