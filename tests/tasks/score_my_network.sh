# Score my own network on my own images: one command.
python make_images.py photos/cats photos/noise
python -c "
import torch, torchvision
torch.manual_seed(0)
torch.save(torchvision.models.resnet18(weights=None, num_classes=2).state_dict(), 'weights.pt')"
reprood score --weights weights.pt --network torchvision:resnet18 --id photos/cats --ood noise=photos/noise --size 32 --out table.csv
grep -q '^.*msp.*noise' table.csv
